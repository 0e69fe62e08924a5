//! A TCP relay that cuts, delays and damages on command.
