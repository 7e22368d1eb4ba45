"""The one exception that means: the caller's input is at fault, not hashlab."""


class InputError(ValueError):
    """Input that cannot be worked with; the message says what was expected and what came."""
