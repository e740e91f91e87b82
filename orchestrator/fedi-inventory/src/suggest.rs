//! "Did you mean": the nearest of the names that exist.

/// The candidate that `name` most likely stands for, where one is near enough: a
/// slip of a letter or two, letters swapped, or a beginning that fits only one.
pub fn suggest<'a, I>(name: &str, candidates: I) -> Option<&'a str>
where
    I: IntoIterator<Item = &'a str>,
{
    let name = name.to_ascii_lowercase().replace('_', "-");
    let allowed = match name.chars().count() {
        0 => return None,
        1..=3 => 1,
        4..=7 => 2,
        _ => 3,
    };
    let mut best: Option<(usize, &str)> = None;
    let mut beginnings = Vec::new();
    for candidate in candidates {
        let distance = strsim::damerau_levenshtein(&name, &candidate.to_ascii_lowercase());
        if distance <= allowed && best.is_none_or(|(nearest, _)| distance < nearest) {
            best = Some((distance, candidate));
        }
        if name.len() >= 3 && (candidate.starts_with(&name) || name.starts_with(candidate) && candidate.len() >= 3) {
            beginnings.push(candidate);
        }
    }
    match (best, beginnings.as_slice()) {
        (Some((_, candidate)), _) | (None, &[candidate]) => Some(candidate),
        _ => None,
    }
}

/// The hint for an unknown name: the nearest one, else all of them when they are few.
pub fn suggestion<'a, I>(name: &str, candidates: I) -> Option<String>
where
    I: IntoIterator<Item = &'a str>,
{
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(near) = suggest(name, candidates.iter().copied()) {
        return Some(format!("Did you mean `{near}`?"));
    }
    if candidates.is_empty() || candidates.len() > 12 {
        return None;
    }
    Some(format!("Known: {}", list(candidates)))
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name() {
        let known = ["matrix", "mastodon", "peertube", "pixelfed", "garage"];
        for (typed, meant) in [
            ("matrx", Some("matrix")),
            ("mastadon", Some("mastodon")),
            ("peer-tube", Some("peertube")),
            ("Pixelfed", Some("pixelfed")),
            ("gar", Some("garage")),
            ("ma", None),
            ("lemmy", None),
            ("", None),
        ] {
            assert_eq!(suggest(typed, known), meant, "{typed}");
        }
    }

    #[test]
    fn underscores_are_no_difference() {
        assert_eq!(suggest("memory_mib", ["cores", "memory-mib"]), Some("memory-mib"));
    }

    #[test]
    fn a_hint_names_all_when_none_is_near() {
        assert_eq!(suggestion("zzz", ["a1", "b1"]).as_deref(), Some("Known: `a1` and `b1`"));
        assert_eq!(suggestion("zzz", []), None);
    }
}
