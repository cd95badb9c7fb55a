"""A task that prints."""


class Loud:
    def run(self) -> object:
        """Print."""
        print("LOUD")
        return None

    def error(self) -> float:
        """Print."""
        print("LOUD")
        return 0.0


def make() -> Loud:
    print("LOUD")
    return Loud()
