//! `bucket` against real Garages, two of them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use fedi_model::SecretName;
use fedi_model::manifest::Bucket as Declared;
use fedi_state::bucket::{Bucket, End};
use fedi_state::{Consistency, ErrorClass, Kind, Observed};
use rusty_s3::actions::S3Action as _;

use crate::servers::between::between;
use crate::servers::garage::Garage;
use crate::servers::port;
use crate::support::{Place, alter_one_byte};

impl Garage {
    fn end(&self) -> End {
        let secret = self.secret.clone().into();
        End::new(&self.endpoint(), "garage", "media", &self.key, &secret).unwrap().in_parts_from(16 << 20)
    }

    fn kind(&self) -> Bucket {
        let declared = Declared {
            bucket: "media".to_owned(),
            endpoint: self.endpoint(),
            region: "garage".to_owned(),
            access_key: SecretName::new("s3-key-id").unwrap(),
            secret_key: SecretName::new("s3-key").unwrap(),
            public_base: None,
            rebuildable: vec!["cache/".to_owned()],
            website: false,
        };
        Bucket::new(declared, self.end())
    }

    /// One plain request; returns the answer with its headers.
    fn ask(&self, method: &str, url: &url::Url, body: &[u8], headers: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
        answer
    }

    fn signed(&self) -> (rusty_s3::Bucket, rusty_s3::Credentials) {
        let endpoint = self.endpoint().parse().unwrap();
        let bucket = rusty_s3::Bucket::new(endpoint, rusty_s3::UrlStyle::Path, "media", "garage").unwrap();
        (bucket, rusty_s3::Credentials::new(&self.key, &self.secret))
    }

    fn put(&self, key: &str, body: &[u8]) {
        let (bucket, credentials) = self.signed();
        let mut action = bucket.put_object(Some(&credentials), key);
        action.headers_mut().insert("content-type", "image/png");
        action.headers_mut().insert("x-amz-meta-note", "kept");
        let url = action.sign(std::time::Duration::from_secs(60));
        self.ask("PUT", &url, body, "content-type: image/png\r\nx-amz-meta-note: kept\r\n");
    }

    fn get(&self, key: &str) -> String {
        let (bucket, credentials) = self.signed();
        let action = bucket.get_object(Some(&credentials), key);
        self.ask("GET", &action.sign(std::time::Duration::from_secs(60)), b"", "")
    }

    fn remove(&self, key: &str) {
        let (bucket, credentials) = self.signed();
        let action = bucket.delete_object(Some(&credentials), key);
        self.ask("DELETE", &action.sign(std::time::Duration::from_secs(60)), b"", "");
    }

    fn fill(&self) {
        for number in 0..40 {
            self.put(&format!("objects/{number}"), format!("content {number}").as_bytes());
        }
        for key in ["a b+c&d=ü?#%.png", "new\nline", "empty/", &"long".repeat(200)] {
            self.put(key, key.as_bytes());
        }
        self.put("empty", b"");
        self.put("big", &vec![7; 17 << 20]);
        self.put("cache/again", b"can be fetched again");
    }
}

fn pair(place: &Place) -> Option<(Garage, Garage)> {
    Some((Garage::start(&place.path("one"), 0x1a)?, Garage::start(&place.path("two"), 0x2b)?))
}

fn figures(observed: &Observed) -> &fedi_state::snapshot::ObservedBucket {
    match observed {
        Observed::Bucket(observed) => observed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bucket_comes_back_at_another_endpoint_with_other_keys() {
    let place = Place::new();
    let Some((source, target)) = pair(&place) else { return };
    source.fill();
    let (here, there) = (source.kind(), target.kind());
    let item = place.item("media");
    assert_eq!(here.presync(&place.work, &item).unwrap().count, 46);
    source.put("objects/7", b"changed");
    source.remove("objects/8");
    let second = here.presync(&place.work, &item).unwrap();
    assert_eq!((second.count, second.bytes), (2, 7), "one changed, one gone");
    let observed = here.capture(&place.work, &item, Consistency::Quiesced).unwrap();
    assert_eq!(figures(&observed).objects, 45);

    there.restore(&place.work, &item, &observed).unwrap();
    let report = there.verify(&place.work, &item, &observed).unwrap();
    assert!(report.checks[0].starts_with("45 objects"), "{report:?}");
    let answer = target.get("a b+c&d=ü?#%.png");
    assert!(answer.to_lowercase().contains("content-type: image/png"), "{answer}");
    assert!(answer.to_lowercase().contains("x-amz-meta-note: kept"), "{answer}");
    // Again nothing is to do; cut off, it goes on.
    there.restore(&place.work, &item, &observed).unwrap();
    target.remove("objects/9");
    there.restore(&place.work, &item, &observed).unwrap();
    there.verify(&place.work, &item, &observed).unwrap();
    // Differences are found.
    target.put("objects/9", b"content X");
    assert_eq!(there.verify(&place.work, &item, &observed).unwrap_err().class(), ErrorClass::Differs);
    let error = there.restore(&place.work, &item, &observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotEmpty);
    assert!(error.to_string().contains("objects/9"), "{error}");
    target.remove("objects/9");
    target.put("zz", b"mine");
    assert_eq!(there.verify(&place.work, &item, &observed).unwrap_err().class(), ErrorClass::Differs);
    assert_eq!(there.restore(&place.work, &item, &observed).unwrap_err().class(), ErrorClass::NotEmpty);
    // Told, cleared, and filled again.
    assert_eq!(there.contents(&place.work).unwrap().unwrap().what, "45 objects");
    there.clear(&place.work).unwrap();
    assert_eq!(there.contents(&place.work).unwrap(), None);
    there.restore(&place.work, &item, &observed).unwrap();
    there.verify(&place.work, &item, &observed).unwrap();
}

/// Objects that become others, larger ones, and none between being listed and being read.
#[test]
fn a_bucket_in_use_comes_back_as_it_was_read() {
    let place = Place::new();
    let Some((source, target)) = pair(&place) else { return };
    let source = Arc::new(source);
    for number in 0..10 {
        source.put(&format!("objects/{number}"), b"one content");
    }
    // The front outlives the test; the server does not.
    let written = Arc::downgrade(&source);
    let once = Mutex::new(BTreeSet::new());
    let meanwhile = move |request: &str| {
        let key = request.strip_prefix("GET /media/").and_then(|rest| rest.split('?').next()).unwrap_or_default();
        if !once.lock().unwrap().insert(key.to_owned()) {
            return;
        }
        let Some(written) = written.upgrade() else { return };
        match key {
            "objects/3" => written.put(key, b"new content"),
            "objects/5" => written.put(key, b"a longer content than it was"),
            "objects/7" => written.remove(key),
            _ => {}
        }
    };
    let front = between(source.port, Arc::new(meanwhile));
    let secret = source.secret.clone().into();
    let end = End::new(&format!("http://127.0.0.1:{front}"), "garage", "media", &source.key, &secret).unwrap();
    let (here, item) = (Bucket::new(declared(&source), end), place.item("media"));
    let observed = here.capture(&place.work, &item, Consistency::Live).unwrap();
    assert_eq!((figures(&observed).objects, figures(&observed).bytes), (9, 8 * 11 + 28));
    let there = target.kind();
    there.restore(&place.work, &item, &observed).unwrap();
    there.verify(&place.work, &item, &observed).unwrap();
    assert!(target.get("objects/3").ends_with("new content"));
    // Where nobody may write any more, each of them is a reason to refuse.
    for (key, content) in [("objects/3", Some("else content")), ("objects/5", Some("short")), ("objects/6", None)] {
        let (written, done) = (Arc::downgrade(&source), Mutex::new(false));
        let meanwhile = move |request: &str| {
            if request.starts_with(&format!("GET /media/{key}?"))
                && !std::mem::replace(&mut *done.lock().unwrap(), true)
            {
                let Some(written) = written.upgrade() else { return };
                content.map_or_else(|| written.remove(key), |content| written.put(key, content.as_bytes()));
            }
        };
        let front = between(source.port, Arc::new(meanwhile));
        let end = End::new(&format!("http://127.0.0.1:{front}"), "garage", "media", &source.key, &secret).unwrap();
        let here = Bucket::new(declared(&source), end);
        let error = here.capture(&place.work, &place.item("still"), Consistency::Quiesced).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Changed, "{key}: {error}");
    }
}

#[test]
fn rounds_from_bucket_to_bucket() {
    let place = Place::new();
    let Some((source, target)) = pair(&place) else { return };
    source.fill();
    let (here, memory) = (source.kind(), place.path("memory"));
    let round = |last| here.mirror(&place.work, &target.end(), &memory, last).unwrap();
    assert_eq!(round(false).count, 46);
    assert_eq!(round(false).count, 0);
    source.put("objects/7", b"changed");
    source.remove("objects/8");
    assert_eq!(round(false).count, 1);
    assert!(target.get("objects/8").ends_with("content 8"));
    assert_eq!(round(true).count, 1);
    assert_eq!(round(true).count, 0);
    let observed = here.capture(&place.work, &place.item("media"), Consistency::Quiesced).unwrap();
    target.kind().verify(&place.work, &place.item("media"), &observed).unwrap();
}

#[test]
fn a_damaged_object_is_not_left_in_the_bucket() {
    let place = Place::new();
    let Some((source, target)) = pair(&place) else { return };
    source.put("only", b"some content");
    let item = place.item("media");
    let observed = source.kind().capture(&place.work, &item, Consistency::Quiesced).unwrap();
    let folder = fs::read_dir(item.folder.join("objects")).unwrap().next().unwrap().unwrap().path();
    let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    alter_one_byte(&file);
    let error = target.kind().restore(&place.work, &item, &observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Damaged, "{error}");
    fs::write(&file, b"some").unwrap();
    let error = target.kind().restore(&place.work, &item, &observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Damaged, "{error}");
    let empty = target.kind().capture(&place.work, &place.item("look"), Consistency::Quiesced).unwrap();
    assert_eq!(figures(&empty).objects, 0);
    alter_one_byte(&item.folder.join("inventory.jsonl"));
    assert_eq!(target.kind().restore(&place.work, &item, &observed).unwrap_err().class(), ErrorClass::Damaged);
}

#[test]
fn a_wrong_key_and_a_server_that_is_not_there_are_told_without_the_secret() {
    let place = Place::new();
    let Some(source) = Garage::start(&place.path("one"), 0x1a) else { return };
    let secret = "cd".repeat(32).into();
    let try_with = |endpoint: &str| {
        let end = End::new(endpoint, "garage", "media", &source.key, &secret).unwrap();
        let declared = Declared { endpoint: endpoint.to_owned(), ..declared(&source) };
        Bucket::new(declared, end).capture(&place.work, &place.item("media"), Consistency::Live).unwrap_err()
    };
    let error = try_with(&source.endpoint());
    assert_eq!(error.class(), ErrorClass::Password, "{error}");
    let nobody = try_with(&format!("http://127.0.0.1:{}", port()));
    assert_eq!(nobody.class(), ErrorClass::Unreachable, "{nobody}");
    for error in [error, nobody] {
        let text = format!("{error:?} {error}");
        assert!(!text.contains("cdcd") && !text.contains("Signature="), "{text}");
    }
}

fn declared(source: &Garage) -> Declared {
    Declared {
        bucket: "media".to_owned(),
        endpoint: source.endpoint(),
        region: "garage".to_owned(),
        access_key: SecretName::new("s3-key-id").unwrap(),
        secret_key: SecretName::new("s3-key").unwrap(),
        public_base: None,
        rebuildable: Vec::new(),
        website: false,
    }
}
