//! What is made again from the rest: nothing of it is captured. The unit that makes
//! it is started by fedi after the application runs, in the background.

use fedi_model::manifest::Derived as Declared;

use crate::error::StateError;
use crate::kind::{Contents, Kind, Report};
use crate::snapshot::{Consistency, Observed, ObservedDerived};
use crate::stage::ItemStage;
use crate::work::Work;

/// Something that is made again.
pub struct Derived {
    declared: Declared,
}

impl Derived {
    /// As the contract declares it.
    pub fn new(declared: Declared) -> Self {
        Self { declared }
    }

    /// The unit to start when the application runs, if it does not do so by itself.
    pub fn rebuild(&self) -> Option<&str> {
        self.declared.rebuild.as_deref()
    }
}

impl Kind for Derived {
    fn capture(&self, work: &Work, _: &ItemStage, _: Consistency) -> Result<Observed, StateError> {
        work.check()?;
        let Declared { paths, rebuild } = self.declared.clone();
        Ok(Observed::Derived(ObservedDerived { paths, rebuild }))
    }

    fn restore(&self, work: &Work, _: &ItemStage, _: &Observed) -> Result<(), StateError> {
        work.check()
    }

    fn verify(&self, _: &Work, _: &ItemStage, _: &Observed) -> Result<Report, StateError> {
        let note = match self.rebuild() {
            Some(unit) => format!("`{unit}` makes it again after the start"),
            None => "the application makes it again by itself".to_owned(),
        };
        Ok(Report { checks: Vec::new(), notes: vec![note] })
    }

    fn contents(&self, _: &Work) -> Result<Option<Contents>, StateError> {
        Ok(None)
    }

    fn clear(&self, work: &Work) -> Result<(), StateError> {
        work.check()
    }
}
