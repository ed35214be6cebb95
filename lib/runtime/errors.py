"""What can go wrong when a server is started on this machine."""

from lib.errors import MigrationError


class RuntimeFailure(MigrationError):
    """A server of this machine can't be made, started or stopped."""


class AddressInUse(RuntimeFailure):
    """Another process listens where this server has to."""


class AddressMissing(RuntimeFailure):
    """This machine's loopback interface does not have the address that a server has to have."""


class DiskFull(RuntimeFailure):
    """There is no room left for the server's data."""


class FolderUnusable(RuntimeFailure):
    """The data folder can't be written, or doesn't hold what it should."""


class ServerFailed(RuntimeFailure):
    """The server ended or kept silent instead of serving; the message quotes its log."""


class BinaryMissing(RuntimeFailure):
    """The wheel with the server is not installed, or not for this machine."""
