//! Sections `[profiles.agent]` and `[profiles.client]` (R95): what an account must carry and whether its login may change.

use super::read::Section;
use crate::model::profile::{Profile, Profiles};

pub(super) fn read(section: &Section<'_>) -> Profiles {
    let default = Profiles::default();
    Profiles {
        agent: profile(&section.section("agent"), default.agent),
        client: profile(&section.section("client"), default.client),
    }
}

fn profile(section: &Section<'_>, default: Profile) -> Profile {
    let login_mutable = section.boolean("login_mutable", default.login_mutable);
    let required = if section.has("required") { section.list("required") } else { default.required };
    for path in &required {
        let plain = path.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric()));
        if !plain {
            section.fault("required", Some(path), "must be names of attributes like displayName or name.givenName");
        }
    }
    Profile { required, login_mutable }
}
