//! Uploads, as Proxmox's own reader of forms takes them.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::Duration;

use common::multipart;
use common::server::{Reply, Server};
use common::{options, setup_with};
use proxmox_api::{Class, Client, Limits, LocalImage, UploadProgress};
use serde_json::json;

const UPID: &str = "UPID:pve:00000A85:000B264E:6B014552:imgcopy::fedi@pve!deploy:";

async fn image(content: &[u8]) -> (tempfile::NamedTempFile, LocalImage) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let image = LocalImage::read(file.path()).await.unwrap();
    (file, image)
}

#[tokio::test]
async fn the_fields_come_in_proxmoxs_order() {
    let server = Server::start(|_| Reply::ok(&json!(UPID))).await;
    let content: Vec<u8> = (0..1_000_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
    let (_file, image) = image(&content).await;
    let storage = Client::new(options(&server)).unwrap().node("pve").storage("local");
    let progress = UploadProgress::new();
    let upid = storage.upload(&image, "fedi-a.qcow2", &progress).await.unwrap();
    assert_eq!(upid.kind, "imgcopy");
    assert_eq!(progress.sent(), 1_000_000);
    let received = &server.received()[0];
    assert_eq!(received.target, "/api2/json/nodes/pve/storage/local/upload");
    assert!(!received.headers.contains_key("transfer-encoding"), "Proxmox reads no chunks");
    let (fields, file) = multipart::parts(&received.headers["content-type"], &received.body).unwrap();
    assert_eq!(fields["content"], "import");
    assert_eq!(fields["checksum-algorithm"], "sha256");
    assert_eq!(fields["checksum"], image.address.sha256.as_str());
    assert_eq!(fields["filename"], "fedi-a.qcow2");
    assert_eq!(file, content);
}

#[tokio::test]
async fn a_refusal_is_told() {
    let reason = "Permission check failed (/storage/local, Datastore.AllocateTemplate)";
    let server = Server::start(move |_| Reply::error(403, reason, "")).await;
    let (_file, image) = image(b"qcow2").await;
    let storage = Client::new(options(&server)).unwrap().node("pve").storage("local");
    let error = storage.upload(&image, "fedi-a.qcow2", &UploadProgress::new()).await.unwrap_err();
    let expected = Class::Permission {
        path: Some("/storage/local".to_owned()),
        privilege: Some("Datastore.AllocateTemplate".to_owned()),
    };
    assert_eq!(*error.class(), expected);
}

// Here the clock does not wait; in the others it must not run ahead of the network.
#[tokio::test]
async fn a_standstill_ends_the_upload() {
    let server = Server::start(|_| Reply::Silence).await;
    let (_file, image) = image(b"qcow2").await;
    let limits = Limits { upload_stall: Duration::from_secs(8), ..Limits::default() };
    let storage = setup_with(options(&server).with_limits(limits)).client.node("pve").storage("local");
    let error = storage.upload(&image, "fedi-a.qcow2", &UploadProgress::new()).await.unwrap_err();
    assert_eq!(*error.class(), Class::Ambiguous);
    assert_eq!(error.message(), "the upload came to a standstill");
}

#[tokio::test]
async fn an_image_that_changed_is_not_sent() {
    let server = Server::start(|_| Reply::ok(&json!(UPID))).await;
    let (file, image) = image(b"qcow2").await;
    std::fs::write(file.path(), b"another").unwrap();
    let storage = Client::new(options(&server)).unwrap().node("pve").storage("local");
    let error = storage.upload(&image, "fedi-a.qcow2", &UploadProgress::new()).await.unwrap_err();
    assert!(error.message().contains("has changed"), "{}", error.message());
    assert!(server.received().is_empty());
}
