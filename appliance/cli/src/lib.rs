//! holdfast: the command line over the API.
