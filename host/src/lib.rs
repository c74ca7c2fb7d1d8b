//! The Mycelia host as a library; the binary `mycelia` is a thin wrapper.
