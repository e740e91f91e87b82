//! What a guest gets where its file does not say: one line an application.
//!
//! Upstreams give few figures. Where there are any, they are: Synapse "at least 1 GB
//! of free RAM" to join large rooms; PeerTube 1 core without transcoding, 2 and more
//! with it; Garage 1 GiB. The rest is what small instances of a few hundred people are
//! run on. Media are not counted beyond a start: the state disk can grow at any time.

use fedi_model::AppName;

/// The size of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// CPU cores.
    pub cores: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// State disk in GiB.
    pub state_gib: u32,
}

/// Application, cores, memory in MiB, state disk in GiB.
const SIZES: [(&str, u32, u32, u32); 5] = [
    ("matrix", 2, 2048, 20),
    // Puma, Sidekiq and streaming beside PostgreSQL and Redis.
    ("mastodon", 2, 4096, 40),
    // Transcoding is what takes the cores.
    ("peertube", 4, 4096, 80),
    // Horizon's workers resize pictures.
    ("pixelfed", 2, 4096, 40),
    // Its quick start asks for 1 GiB of memory and 16 GB of disk.
    ("garage", 1, 1024, 40),
];

/// For an application that is not in the table.
const OTHER: Size = Size { cores: 2, memory_mib: 2048, state_gib: 20 };

/// What a guest of `app` gets where its file does not say.
pub fn default_size(app: &AppName) -> Size {
    let known = SIZES.iter().find(|(name, ..)| *name == app.as_str());
    known.map_or(OTHER, |&(_, cores, memory_mib, state_gib)| Size { cores, memory_mib, state_gib })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least that upstreams name or, where they are silent, that small instances are
    /// known to run on.
    #[test]
    fn no_less_than_upstream_asks_for() {
        let least = [
            ("matrix", 2, 2048, 20),
            ("mastodon", 2, 4096, 20),
            // "At least two" with transcoding; 1 GiB of memory without, 4 with it.
            ("peertube", 4, 4096, 20),
            ("pixelfed", 2, 2048, 20),
            ("garage", 1, 1024, 16),
        ];
        assert_eq!(least.map(|it| it.0), SIZES.map(|it| it.0), "every application has its facts");
        for (app, cores, memory_mib, state_gib) in least {
            let size = default_size(&AppName::new(app).unwrap());
            assert!(
                size.cores >= cores && size.memory_mib >= memory_mib && size.state_gib >= state_gib,
                "{app}: {size:?}"
            );
        }
    }

    #[test]
    fn known_and_unknown_applications() {
        assert_eq!(default_size(&AppName::new("peertube").unwrap()).cores, 4);
        assert_eq!(default_size(&AppName::new("lemmy").unwrap()), OTHER);
    }
}
