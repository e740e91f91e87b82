//! Tables of the Proxmox VE endpoints fedi uses, and parameter checks over them.
