"""What only the book uses: tables, comparisons, reported figures,
and the figures of single chapters.
"""
