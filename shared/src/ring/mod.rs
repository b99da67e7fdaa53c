//! The device ring: io_uring for device sockets, shared by gateway and swarm.
