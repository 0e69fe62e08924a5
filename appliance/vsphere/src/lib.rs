//! vSphere client: SOAP vim25 over TLS with a pinned certificate.
