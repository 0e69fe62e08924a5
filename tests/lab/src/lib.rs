//! The outside world the appliance is tried against: tgt, vCenter, datastore, guests.
