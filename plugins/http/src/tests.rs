//! The mapping as data, and the server over loopback with a fake host.

mod mapping;
mod serving;
mod wire;
