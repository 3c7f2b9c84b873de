"""What can go wrong with a model call."""

from tutelage.errors import TutelageError


class EndpointError(TutelageError):
    """The endpoint answered a request with an error."""


class EndpointUnreachable(EndpointError):
    """Nobody answers at the endpoint's URL, or it refuses every request (a wrong key, an unknown model)."""


class Outage(EndpointError):
    """Nothing is wrong with the request: the endpoint may well answer it later."""


class EndpointDown(EndpointUnreachable, Outage):
    """Nobody answers at the endpoint's URL, or it is overloaded."""


class EndpointTimeout(Outage):
    """A model call took longer than it may."""


class NoCompletion(Outage):
    """The endpoint answered with something that is no chat completion: cut off, empty, or another thing altogether."""


class InvalidOutput(EndpointError):
    """The engine could not parse what the model wrote. Says more about the model than about the endpoint."""


class ContextExceeded(EndpointError):
    """The prompt is longer than the endpoint's context."""
