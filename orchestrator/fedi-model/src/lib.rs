//! Names, inventory, resources, manifest, plan and event types; pure.
