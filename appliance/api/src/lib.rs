//! Requests, responses and the endpoint table of the HTTP API.
