//! tests of the probe
