//! A thin typed client of the Proxmox VE API.
