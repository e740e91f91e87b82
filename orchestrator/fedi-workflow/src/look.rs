//! Looks at the world for one deployment: everything that the planner compares with
//! what is wanted.

use fedi_engine::World;
use fedi_engine::drivers::{DriverError, DriverErrorKind};
use fedi_model::resource::Resource;
use fedi_plan::Known;
use futures::future::join_all;

/// How the guest of a deployment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestState {
    /// There is no VM.
    Absent,
    /// The VM is stopped.
    Stopped,
    /// The VM runs and the guest answers.
    Answers,
    /// The VM runs, the guest does not answer, for this reason.
    Silent(DriverError),
}

/// Looks at each of `wanted`. A guest that does not answer is no failure: what lives on
/// it has no entry then, and the returned state says why.
pub(crate) async fn look(world: &dyn World, wanted: &[Resource], known: &mut Known) -> Result<GuestState, DriverError> {
    let mut state = GuestState::Absent;
    let (vms, rest): (Vec<&Resource>, Vec<&Resource>) =
        wanted.iter().partition(|resource| matches!(resource, Resource::Vm(_)));
    let (on_guest, rest): (Vec<&Resource>, Vec<&Resource>) =
        rest.into_iter().partition(|resource| is_on_guest(resource));
    let rest = async {
        let seen = join_all(rest.iter().map(|like| async { (*like, world.observe(like).await) })).await;
        seen.into_iter().map(|(like, found)| found.map(|found| (like, found))).collect::<Result<Vec<_>, _>>()
    };
    let guest = async {
        let mut seen = Vec::new();
        let mut state = GuestState::Absent;
        for like in vms {
            let found = world.observe(like).await?;
            state = match &found {
                Some(Resource::Vm(vm)) if vm.running => GuestState::Answers,
                Some(_) => GuestState::Stopped,
                None => GuestState::Absent,
            };
            seen.push((like, found));
        }
        for like in on_guest {
            match state {
                GuestState::Absent => seen.push((like, None)),
                GuestState::Stopped | GuestState::Silent(_) => {}
                GuestState::Answers => match world.observe(like).await {
                    Ok(found) => seen.push((like, found)),
                    Err(error) if error.kind == DriverErrorKind::Unavailable => state = GuestState::Silent(error),
                    Err(error) => return Err(error),
                },
            }
        }
        Ok((state, seen))
    };
    let (rest, guest) = tokio::join!(rest, guest);
    let (guest_state, on_guest) = guest?;
    state = match state {
        GuestState::Absent => guest_state,
        other => other,
    };
    for (like, found) in rest?.into_iter().chain(on_guest) {
        known.saw(like, found);
    }
    Ok(state)
}

fn is_on_guest(resource: &Resource) -> bool {
    matches!(
        resource,
        Resource::Delivery(_)
            | Resource::Lease(_)
            | Resource::System(_)
            | Resource::State(_)
            | Resource::Service(_)
            | Resource::Backups(_)
    )
}
