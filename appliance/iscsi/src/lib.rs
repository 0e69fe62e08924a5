//! RFC 7143 (iSCSI) initiator as a state machine without I/O.
