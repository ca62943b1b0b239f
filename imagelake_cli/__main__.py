"""The program `imagelake`, and `python -m imagelake_cli`."""

import signal


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback while its modules are imported, too."""
    # Importing takes a second or more. A program in the background may have been told to ignore Ctrl-C.
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from imagelake_cli.main import app  # what Ctrl-C may end

    signal.signal(signal.SIGINT, interrupt)
    app()


if __name__ == "__main__":
    main()
