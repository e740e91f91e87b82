//! A stateful Proxmox VE that speaks its HTTPS API.
