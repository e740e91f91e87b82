//! Plans that cannot be carried out are refused before they begin.

use fedi_model::run::{UnsoundPlan, check_plan};

use crate::*;

fn check(stages: Vec<Vec<Step>>) -> Result<(), UnsoundPlan> {
    check_plan(&plan(stages))
}

#[test]
fn sound_plans() {
    assert_eq!(check(vec![]), Ok(()));
    assert_eq!(check(vec![vec![ensure(v4(9)), ensure(v6(9))], vec![pivot()], vec![remove(secret(Some(1)))]]), Ok(()));
    // A thing may be changed twice, one after the other.
    let again = Step { id: StepId::new("again"), ..ensure(v4(8)) };
    assert_eq!(check(vec![vec![ensure(v4(9))], vec![again]]), Ok(()));
}

#[test]
fn unsound_plans() {
    let newer = Plan { schema: SCHEMA + 1, ..plan(vec![]) };
    assert_eq!(check_plan(&newer), Err(UnsoundPlan::Schema(SCHEMA + 1)));
    assert_eq!(check(vec![vec![]]), Err(UnsoundPlan::EmptyStage("0".to_owned())));
    let same = check(vec![vec![ensure(v4(9))], vec![ensure(v4(8))]]);
    assert_eq!(same, Err(UnsoundPlan::SameStep("address/matrix/ipv4".to_owned())));
    let other = Step { id: StepId::new("other"), ..ensure(v4(8)) };
    assert!(matches!(check(vec![vec![ensure(v4(9)), other]]), Err(UnsoundPlan::SameResource { .. })));
    assert_eq!(check(vec![vec![pivot(), task()]]), Err(UnsoundPlan::PivotInCompany("pivot".to_owned())));
    let destroys = check(vec![vec![remove(secret(Some(1)))], vec![pivot()]]);
    assert_eq!(destroys, Err(UnsoundPlan::DestroysBeforePivot("secret/matrix/signing-key".to_owned())));
}
