//! Images: uploads, downloads, imports, and where space ends.

use fedi_sim::faults::Command;
use fedi_sim::{Clock, Pace, Tuning};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::{Answer, multipart};
use crate::world::{NINE, World, builder, machine, machine_with, start, world};

async fn upload(world: &World, name: &str, fields: &[(&str, &str)], bytes: &[u8]) -> Answer {
    let fields: Vec<(String, String)> =
        fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let headers = [
        ("Authorization".to_owned(), format!("PVEAPIToken={}", world.api.token)),
        ("Content-Type".to_owned(), "multipart/form-data; boundary=limit".to_owned()),
    ];
    let body = multipart("limit", &fields, Some(("filename", name, bytes)));
    world.api.client.raw("POST", "/api2/json/nodes/pve/storage/local/upload", &headers, &body).await
}

fn image(world: &World) -> Vec<u8> {
    std::fs::read(world.sim.add_image("local", "source.qcow2", 8 << 20, 1 << 20).unwrap()).unwrap()
}

#[tokio::test]
async fn an_upload_is_checked_against_its_checksum_and_overwrites() {
    let world = start(NINE).await;
    let bytes = image(&world);
    let good = format!("{:x}", Sha256::digest(&bytes));
    let with = |sum: &str| {
        [("content", "import"), ("checksum-algorithm", "sha256"), ("checksum", sum)]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
    };
    for (name, sum, exit) in [
        ("a.qcow2", good.clone(), "OK".to_owned()),
        ("a.qcow2", good.clone(), "OK".to_owned()),
        ("b.qcow2", "0".repeat(64), format!("checksum mismatch: got '{good}' != expect '{}'", "0".repeat(64))),
    ] {
        let fields = with(&sum);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let upid = upload(&world, name, &fields, &bytes).await.upid();
        assert_eq!(world.api.wait(&upid).await, exit);
    }
    let volumes = world.sim.volumes("local");
    assert!(
        volumes.contains(&"local:import/a.qcow2".to_owned()) && !volumes.contains(&"local:import/b.qcow2".to_owned())
    );
}

#[tokio::test]
async fn an_upload_is_taken_apart_strictly() {
    let world = start(NINE).await;
    let bytes = image(&world);
    let order = [("checksum", "x"), ("checksum-algorithm", "sha256"), ("content", "import")];
    let wrong_order = upload(&world, "a.qcow2", &order, &bytes).await;
    assert_eq!((wrong_order.status, wrong_order.reason.as_str()), (400, "Bad Request"));
    let packed = upload(&world, "a.qcow2.xz", &[("content", "import")], &bytes).await;
    assert_eq!(packed.error("filename"), "invalid filename or wrong extension");
    let upid = upload(&world, "../a b$c.qcow2", &[("content", "import")], &bytes).await.upid();
    assert_eq!(world.api.wait(&upid).await, "OK");
    assert!(world.sim.volumes("local").contains(&"local:import/a_b_c.qcow2".to_owned()));
    let upid = upload(&world, "c.qcow2", &[("content", "import")], b"no image").await.upid();
    assert!(world.api.wait(&upid).await.contains("Image is not in qcow2 format"));
}

#[tokio::test]
async fn deleting_an_image_needs_more_than_uploading_it() {
    let world = start(NINE).await;
    let path = "/nodes/pve/storage/local/content/local%3Aimport%2Fapp.qcow2";
    let refused = world.api.delete(path).await;
    assert_eq!(refused.reason, "Permission check failed (/storage/local, Datastore.Allocate)");
    let upid = world.root.delete(path).await.upid();
    assert_eq!(world.root.wait(&upid).await, "OK");
}

#[tokio::test]
async fn an_import_ends_when_the_storage_is_full_and_leaves_nothing() {
    let world = start(NINE).await;
    world.sim.add_image("local", "big.qcow2", 64 << 20, 60 << 20).unwrap();
    let exit = world.create(machine_with(130, &json!({"scsi0": "tiny:0,import-from=local:import/big.qcow2"}))).await;
    let text = "unable to create VM 130 - cannot import from 'local:import/big.qcow2' - copy failed: command \
                '/usr/bin/qemu-img convert -p -n -f qcow2 -O qcow2 /var/lib/vz/import/big.qcow2 \
                zeroinit:/srv/tiny/images/130/vm-130-disk-0.qcow2' failed: exit code 1";
    assert_eq!(exit, text);
    assert!(world.sim.volumes("tiny").is_empty());
    let status = world.api.get("/nodes/pve/storage/tiny/status").await.data();
    assert_eq!(status["avail"], 40 << 20);
    assert!(world.sim.control(Command::LeaveSpace { storage: "local".to_owned(), bytes: 1 << 20 }).await.ok);
    let large = machine_with(131, &json!({"scsi0": "local:0,import-from=local:import/big.qcow2"}));
    assert!(world.create(large).await.ends_with("failed: exit code 1"));
}

#[tokio::test]
async fn a_blank_disk_takes_no_space_until_it_is_written_to() {
    let world = start(NINE).await;
    let blank = json!({"vmid": 132, "scsi0": "tiny:10"});
    let upid = world.root.post("/nodes/pve/qemu", blank).await.upid();
    assert_eq!(world.root.wait(&upid).await, "OK");
}

#[tokio::test]
async fn an_import_of_ten_minutes_takes_no_time_on_a_virtual_clock() {
    let tuning = Tuning { copy_bytes_per_second: 1 << 10, ..Tuning::default() };
    let clock = Clock::virtual_now(Pace::Auto);
    let world = world(builder(NINE).tuning(tuning).clock(clock.clone()).start().await.unwrap());
    let before = clock.seconds();
    assert_eq!(world.create(machine(133)).await, "OK");
    let took = clock.seconds() - before;
    assert!(took >= 600, "{took} s");
}

#[tokio::test]
async fn a_download_is_not_repeated_when_its_checksum_fits() {
    let world = start(NINE).await;
    let bytes = image(&world);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/app.qcow2", listener.local_addr().unwrap());
    let served = bytes.clone();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", served.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&served).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let asked = |sum: String| json!({"content": "import", "filename": "d.qcow2", "url": url, "checksum": sum, "checksum-algorithm": "sha256"});
    let good = format!("{:x}", Sha256::digest(&bytes));
    let path = "/nodes/pve/storage/local/download-url";
    for (sum, exit) in [(good.clone(), "OK"), (good, "OK")] {
        let upid = world.api.post(path, asked(sum)).await.upid();
        assert_eq!(world.api.wait(&upid).await, exit);
    }
    serving.await.unwrap();
    let upid = world.api.post(path, asked("0".repeat(64))).await.upid();
    assert!(world.api.wait(&upid).await.starts_with("checksum mismatch: got "));
}
