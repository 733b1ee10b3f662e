"""The errors a user can mend: each message says what is wrong, where, and what would do.

ValueError
  InputError          a flag, a file, a model or a text that cannot be used
    DataError         a text source, by its place (fedprllm_secure.data)
"""


class InputError(ValueError):
    """Something the user gave cannot be used; the command line prints it as one line and exits with status 2."""
