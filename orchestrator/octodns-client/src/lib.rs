//! Plans and applies DNS records through octoDNS.
