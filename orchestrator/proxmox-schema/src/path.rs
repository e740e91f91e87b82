//! Paths with placeholders, such as `/nodes/{node}/qemu/{vmid}`.

use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Segment {
    Literal(String),
    Placeholder(String),
}

/// A path of an endpoint. A last `{volume}` takes the rest of the path, slashes included.
#[derive(Clone, Debug)]
pub(crate) struct PathTemplate(Vec<Segment>);

impl PathTemplate {
    pub(crate) fn new(path: &str) -> Self {
        let segment = |text: &str| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(name) => Segment::Placeholder(name.to_owned()),
            None => Segment::Literal(text.to_owned()),
        };
        Self(path.split('/').filter(|text| !text.is_empty()).map(segment).collect())
    }

    pub(crate) fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Placeholder(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// The values of the placeholders, if the (decoded) path fits. Empty segments are skipped, as Proxmox does.
    pub(crate) fn matches(&self, path: &str) -> Option<BTreeMap<String, String>> {
        let mut values = BTreeMap::new();
        let mut rest = path.trim_matches('/');
        for (index, segment) in self.0.iter().enumerate() {
            if rest.is_empty() {
                return None;
            }
            let takes_all =
                index + 1 == self.0.len() && matches!(segment, Segment::Placeholder(name) if name == "volume");
            let (head, tail) = if takes_all { (rest, "") } else { rest.split_once('/').unwrap_or((rest, "")) };
            match segment {
                Segment::Literal(text) if text == head => {}
                Segment::Literal(_) => return None,
                Segment::Placeholder(name) => {
                    values.insert(name.clone(), head.to_owned());
                }
            }
            rest = tail.trim_start_matches('/');
        }
        rest.is_empty().then_some(values)
    }

    /// Literal segments win over placeholders where two templates fit.
    pub(crate) fn literals(&self) -> usize {
        self.0.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_take_one_segment() {
        let template = PathTemplate::new("/nodes/{node}/qemu/{vmid}/config");
        let values = template.matches("/nodes//pve/qemu/100/config/").unwrap();
        assert_eq!(values["node"], "pve");
        assert_eq!(values["vmid"], "100");
        assert!(template.matches("/nodes/pve/qemu/100").is_none());
        assert!(template.matches("/nodes/pve/qemu/100/config/x").is_none());
    }

    #[test]
    fn a_volume_takes_the_rest() {
        let template = PathTemplate::new("/nodes/{node}/storage/{storage}/content/{volume}");
        let values = template.matches("/nodes/pve/storage/local/content/local:import/x.qcow2").unwrap();
        assert_eq!(values["volume"], "local:import/x.qcow2");
    }
}
