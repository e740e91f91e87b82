//! Two deployments with a repository each (`per-deployment`), through the desk, real
//! restic and the real store of secrets: what is done with one never touches the other's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fedi_drivers::repository::of_its_own;
use fedi_drivers::secrets::AgeStore;
use fedi_engine::drivers::{RepositoryAccess, SecretKey, SecretStore, SecretValue, StoredSnapshot};
use fedi_model::name::{DeploymentName, RepositoryName};
use fedi_model::resource::Secret;
use fedi_state::repository::{Password, Repository};
use fedi_state::{ErrorClass, Work};
use fedi_testsite::{Setup, TestSite, Wires};
use fedi_workflow::WorkflowError;

use crate::restic_is_there;

fn name(name: &str) -> DeploymentName {
    DeploymentName::new(name).unwrap()
}

fn main_repository() -> RepositoryName {
    RepositoryName::new("main").unwrap()
}

/// Two deployments that run, `matrix` and `other`; each keeps its newest snapshot only.
async fn site(backups: &str) -> TestSite {
    let deployment = |name: &str| ("proxmox1".to_owned(), name.to_owned(), format!("{name}.example.test"));
    let deployments = vec![deployment("matrix"), deployment("other")];
    let mut site = TestSite::with(Setup { deployments, ..Setup::default() }, Wires::default()).await;
    site.wiring.layout.use_restic(&format!("keep = {{ last = 1, daily = 0, weekly = 0, monthly = 0 }}\n{backups}"));
    site.reopen();
    for name in ["matrix", "other"] {
        assert_eq!(site.deploy(name).await.unwrap().exit_code(), 0);
        write(&site, name, &format!("of {name}"));
        site.backup(name).await;
    }
    site
}

/// The application writes something into its database.
fn write(site: &TestSite, name: &str, text: &str) {
    site.wiring.guests.change(name, |guest| {
        guest.apps.get_mut("matrix").unwrap().state.insert("db".to_owned(), text.to_owned());
    });
}

fn written(site: &TestSite, name: &str) -> String {
    site.wiring.guests.named(name).unwrap().apps["matrix"].state["db"].clone()
}

async fn access(site: &TestSite, deployment: &str) -> RepositoryAccess {
    site.wiring.desk.repositories.access(&main_repository(), &name(deployment)).await.unwrap()
}

async fn listed(site: &TestSite, deployment: &str) -> Vec<StoredSnapshot> {
    site.wiring.desk.snapshots(&name(deployment)).await.unwrap().1
}

/// Every file below a folder with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Opens a repository of a deployment with a password.
fn opens(site: &TestSite, deployment: &str, password: &SecretValue) -> Result<(), ErrorClass> {
    let folder = site.wiring.layout.repositories().join("main").join(deployment);
    let repository = Repository {
        location: folder.display().to_string(),
        password: Password::Value(String::from_utf8(password.expose().to_vec()).unwrap().into()),
        s3: None,
        ca: None,
        ssh: None,
        cache: None,
    };
    repository.is_there(&Work::default()).map_err(|error| error.class())
}

#[tokio::test]
async fn each_deployment_has_its_own_place_and_password() {
    let Some(()) = restic_is_there() else { return };
    let site = site("per-deployment = true\n").await;
    let (one, other) = (access(&site, "matrix").await, access(&site, "other").await);
    let main = site.wiring.layout.repositories().join("main");
    assert_eq!(one.location, format!("{}/matrix/", main.display()));
    assert_eq!(other.location, format!("{}/other/", main.display()));
    let mut places: Vec<_> = fs::read_dir(&main).unwrap().map(|it| it.unwrap().file_name()).collect();
    places.sort();
    assert_eq!(places, ["matrix", "other"], "and none that both have");

    assert_eq!(opens(&site, "matrix", &one.password), Ok(()));
    assert_eq!(opens(&site, "other", &other.password), Ok(()));
    assert_eq!(opens(&site, "matrix", &other.password), Err(ErrorClass::Password));
    assert_eq!(opens(&site, "other", &one.password), Err(ErrorClass::Password));

    // What is kept is the secret that both are made from. The operator's second key reads
    // it, kept elsewhere for the day on which this machine is gone.
    let secret = Secret::password_of(&main_repository());
    let key = SecretKey { deployment: secret.deployment, app: secret.app, name: secret.name };
    let folder = &site.wiring.folder;
    let elsewhere = AgeStore::new(folder.secrets_dir().unwrap(), site.wiring.layout.second_key(), Vec::new());
    let (kept, _) = elsewhere.get(&key).await.unwrap().unwrap();
    assert_eq!(of_its_own(&kept, &name("matrix")).expose(), one.password.expose());
    assert_eq!(opens(&site, "matrix", &kept), Err(ErrorClass::Password));
}

#[tokio::test]
async fn what_is_done_with_one_never_touches_the_others() {
    let Some(()) = restic_is_there() else { return };
    let site = site("per-deployment = true\n").await;
    let desk = &site.wiring.desk;
    let others = site.wiring.layout.repositories().join("main/other");
    let (before, theirs) = (files(&others), listed(&site, "other").await);
    let untouched = || assert!(files(&others) == before, "the other's repository is another");

    let first = listed(&site, "matrix").await;
    assert_eq!((first.len(), theirs.len()), (1, 1));
    write(&site, "matrix", "later");
    site.backup("matrix").await;
    let both = listed(&site, "matrix").await;
    assert_eq!((both.len(), &both[0]), (2, &first[0]));
    assert!(both.iter().all(|one| one.tag("deployment") == Some("matrix")), "{both:?}");
    untouched();

    // Of one deployment no snapshot of the other is found.
    let error = desk.pick(&name("matrix"), Some(&theirs[0].id)).await.unwrap_err();
    assert!(matches!(&error, WorkflowError::Driver(it) if it.message.contains("no snapshot")), "{error:?}");

    let at = desk.pick(&name("matrix"), Some(&first[0].id)).await.unwrap();
    let prepared = desk.drill(&site.wiring.deployment("matrix"), &at).await.unwrap();
    let outcome = site.engine().start(&prepared.plan).await.unwrap();
    assert_eq!(outcome.exit_code(), 0, "{outcome:?}");
    assert!(listed(&site, "matrix").await[0].is_proved());
    untouched();

    // In place, which captures a fail-safe first; then on a new guest.
    let at = desk.pick(&name("matrix"), Some(&first[0].id)).await.unwrap();
    restore(&site, &at).await;
    assert_eq!((written(&site, "matrix"), written(&site, "other")), ("of matrix".to_owned(), "of other".to_owned()));
    assert_eq!(site.destroy("matrix").await.unwrap().exit_code(), 0);
    // What was replaced is the newest there is, and nobody gets it back without asking for it.
    let now = listed(&site, "matrix").await;
    assert_eq!(now.iter().map(StoredSnapshot::is_fail_safe).collect::<Vec<_>>(), [false, false, true]);
    let newest = desk.pick(&name("matrix"), None).await.unwrap();
    assert_eq!(newest.id, both[1].id);
    restore(&site, &newest).await;
    assert_eq!(written(&site, "matrix"), "later");
    untouched();

    // The newest stays, and what was proved.
    let gone = desk.repositories.prune(&main_repository(), &name("matrix")).await.unwrap();
    assert_eq!(gone, [both[1].id.clone()]);
    desk.repositories.check(&main_repository(), &name("matrix"), 100).await.unwrap();
    desk.repositories.remove_stale_locks(&main_repository(), &name("matrix")).await.unwrap();
    untouched();
    assert_eq!(listed(&site, "other").await, theirs);
    restore(&site, &desk.pick(&name("other"), None).await.unwrap()).await;
    assert_eq!(written(&site, "other"), "of other");
}

async fn restore(site: &TestSite, at: &fedi_model::resource::SnapshotRef) {
    let desk = &site.wiring.desk;
    let prepared = desk.restore(&site.wiring.deployment(at.deployment.as_str()), at).await.unwrap();
    desk.begin_restore(&prepared).await.unwrap();
    let outcome = site.engine().start(&prepared.plan).await.unwrap();
    assert_eq!(outcome.exit_code(), 0, "{outcome:?}");
}

/// A guest that was taken over has what its agent was given, and that opens its own only.
#[tokio::test]
async fn a_guest_with_a_schedule_is_given_its_own() {
    let Some(()) = restic_is_there() else { return };
    let mut site = site("per-deployment = true\n").await;
    let schedule = "[backup]\nschedule = \"daily\"\n";
    site.wiring.layout.write_deployment("proxmox1", "other", "other.example.test", schedule);
    site.reopen();
    assert_eq!(site.deploy("other").await.unwrap().exit_code(), 0);
    let given = site.wiring.guests.named("other").unwrap().apps["matrix"].backup.clone().unwrap();
    assert_eq!(given.location, access(&site, "other").await.location);
}

/// Without the wish both have one repository, and each still sees its own snapshots only.
#[tokio::test]
async fn one_repository_for_both_tells_them_apart() {
    let Some(()) = restic_is_there() else { return };
    let site = site("").await;
    let (one, other) = (access(&site, "matrix").await, access(&site, "other").await);
    assert_eq!((&one.location, one.password.expose()), (&other.location, other.password.expose()));
    let theirs = listed(&site, "other").await;
    site.backup("matrix").await;
    let both = listed(&site, "matrix").await;
    assert_eq!(both.len(), 2);
    let desk = &site.wiring.desk;
    assert!(desk.pick(&name("matrix"), Some(&theirs[0].id)).await.is_err());
    let gone = desk.repositories.prune(&main_repository(), &name("matrix")).await.unwrap();
    assert_eq!(gone, [both[0].id.clone()]);
    assert_eq!(listed(&site, "other").await, theirs);

    // A folder that guests have and this machine has not is no empty repository.
    let main = site.wiring.layout.repositories().join("main");
    let aside = main.with_file_name("aside");
    fs::rename(&main, &aside).unwrap();
    for error in [desk.snapshots(&name("other")).await.unwrap_err(), desk.incomplete(&name("other")).await.unwrap_err()]
    {
        let WorkflowError::Driver(error) = error else { panic!("{error:?}") };
        assert_eq!(error.causes, [format!("`{}` is not on this machine", main.display())]);
    }
    fs::rename(&aside, &main).unwrap();
    assert_eq!(listed(&site, "other").await, theirs);
}
