//! The catalogue of licences from its TOML file: `config/licences.toml` is built in, an operator may name another.
//! Every fault at once. What the catalogue means is `model::catalogue`; the rules are `model::licence`.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use super::fault::Fault;
use super::read::{Document, Section, read_file};
use crate::model::catalogue::{self, Catalogue, Family, Raw, Upgrade};

/// The file that is part of the program.
pub const BUILT_IN: &str = include_str!("../../config/licences.toml");

/// One text.
pub fn read(text: &str) -> Result<Catalogue, Vec<Fault>> {
    let document = Document::parse(text);
    let raw = raw(&document.root());
    checked(raw, document.done().err().map(|refused| refused.0).unwrap_or_default(), None)
}

pub fn load(file: &Path) -> Result<Catalogue, Vec<Fault>> {
    let (raw, faults) = read_file(file, raw);
    checked(raw, faults, Some(file.display().to_string()))
}

/// What the form does not show: names that stand twice, moves between licences that do not exist.
fn checked(raw: Raw, mut faults: Vec<Fault>, origin: Option<String>) -> Result<Catalogue, Vec<Fault>> {
    // Of a file that cannot be read nothing else is true.
    if faults.iter().any(|fault| fault.key == "(file)") {
        faults.retain(|fault| fault.key == "(file)");
        return Err(faults);
    }
    let form = faults.len();
    match Catalogue::check(raw) {
        Ok(catalogue) if faults.is_empty() => return Ok(catalogue),
        Ok(_) => {}
        Err(found) => {
            let of_form = |key: &str| faults[..form].iter().any(|fault| fault.key == key);
            // Where the families are faulty, which moves exist is not known.
            let families = faults.iter().any(|fault| !fault.key.starts_with("upgrade"));
            let new = |fault: &catalogue::Fault| !(of_form(&fault.key) || families && fault.key.starts_with("upgrade"));
            let told = |fault: catalogue::Fault| Fault {
                key: fault.key,
                value: None,
                allowed: fault.message,
                origin: origin.clone(),
            };
            let found: Vec<Fault> = found.into_iter().filter(new).map(told).collect();
            faults.extend(found);
        }
    }
    Err(faults)
}

fn raw(root: &Section<'_>) -> Raw {
    let must = |section: &Section<'_>, key: &str| {
        if !section.has(key) {
            section.missing(key);
        }
    };
    must(root, "tiers");
    let family = |section: &Section<'_>| {
        for key in ["services", "tiers", "mini"] {
            must(section, key);
        }
        Family {
            name: section.required("name"),
            services: section.list("services").into_iter().collect(),
            tiers: section.boolean("tiers", false),
            mini: section.boolean("mini", false),
        }
    };
    let upgrade = |section: &Section<'_>| {
        for key in ["from", "to"] {
            must(section, key);
        }
        Upgrade { from: section.list("from"), to: section.list("to") }
    };
    must(root, "grace_days");
    must(root, "family");
    Raw {
        tiers: root.list("tiers"),
        grace_days: root.integer("grace_days", 0..=36_500, 0),
        family: root.array("family").iter().map(family).collect(),
        upgrade: root.array("upgrade").iter().map(upgrade).collect(),
    }
}

/// # Panics
/// Never in a build whose tests have passed: they read the file.
pub fn built_in() -> Arc<Catalogue> {
    static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| match read(BUILT_IN) {
        Ok(catalogue) => Arc::new(catalogue),
        Err(faults) => panic!("the built-in catalogue of licences is wrong: {faults:?}"),
    });
    CATALOGUE.clone()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::catalogue::Licence;
    use crate::model::licence::{Order, Refusal, Verdict, Wish, decide, offered};

    fn order(services: &[&str], tier: &str) -> Order {
        let services = services.iter().map(|service| (*service).to_owned()).collect();
        Order { services, tier: Some(tier.to_owned()).filter(|tier| !tier.is_empty()) }
    }

    fn everything(tier: &str) -> Order {
        order(&["pbx", "helpdesk"], tier)
    }

    fn names(licences: &[Licence]) -> Vec<String> {
        licences.iter().map(ToString::to_string).collect()
    }

    /// Asked for now.
    fn ask(held: &str, wanted: &str, order: &Order) -> Verdict {
        let catalogue = built_in();
        let held = catalogue.exactly(held);
        let wish = Wish::parse(&catalogue, wanted).unwrap();
        decide(&catalogue, held.as_ref(), Some(&wish), order, true)
    }

    fn granted(held: &str, wanted: &str, order: &Order) -> bool {
        matches!(ask(held, wanted, order), Verdict::Take(licence) if licence.to_string() == wanted)
    }

    /// Where one gets to from `held`, with everything ordered, over all tiers.
    fn reachable(held: &str) -> BTreeSet<String> {
        let catalogue = built_in();
        let held = catalogue.exactly(held).unwrap();
        catalogue.moves_from(&held).map(ToString::to_string).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    const TIERS: [&str; 3] = ["START", "PROFI", "ENTERPRISE"];
    const OMNI: [&str; 3] = ["Omnichannel START", "Omnichannel PROFI", "Omnichannel ENTERPRISE"];

    #[test]
    fn r19_r20_what_is_offered_follows_the_order() {
        assert_eq!(names(&offered(&built_in(), &order(&[], "PROFI"))), ["Video"]);
        assert_eq!(
            names(&offered(&built_in(), &everything("PROFI"))),
            [
                "Callcentrum PROFI",
                "Callcentrum MINI",
                "Helpdesk PROFI",
                "Helpdesk MINI",
                "Omnichannel PROFI",
                "Omnichannel MINI",
                "Video"
            ]
        );
        assert_eq!(built_in().licences().len(), 13);
    }

    #[test]
    fn r21_a_new_tier_renames_without_transition() {
        let catalogue = built_in();
        let held = catalogue.exactly("Callcentrum START").unwrap();
        let wish = Wish::parse(&catalogue, "Callcentrum START").unwrap();
        let verdict = decide(&catalogue, Some(&held), Some(&wish), &everything("ENTERPRISE"), false);
        let Verdict::Stay(licence) = verdict else { panic!("{verdict:?}") };
        assert_eq!(licence.to_string(), "Callcentrum ENTERPRISE");
        let verdict = ask("Callcentrum START", "callcentrum", &everything("PROFI"));
        let Verdict::Stay(licence) = verdict else { panic!("{verdict:?}") };
        assert_eq!(licence.to_string(), "Callcentrum PROFI");
    }

    #[test]
    fn r22_r23_callcentrum_needs_pbx_and_helpdesk_needs_helpdesk() {
        for (family, needed, other) in [("Callcentrum", "pbx", "helpdesk"), ("Helpdesk", "helpdesk", "pbx")] {
            for variant in ["MINI", "PROFI"] {
                let wanted = format!("{family} {variant}");
                assert!(granted("", &wanted, &order(&[needed], "PROFI")));
                let missing = Refusal::MissingService { services: set(&[needed]) };
                assert_eq!(ask("", &wanted, &order(&[other], "PROFI")), Verdict::Refuse(vec![missing]));
            }
        }
    }

    #[test]
    fn r24_omnichannel_lists_every_missing_service() {
        for wanted in ["Omnichannel MINI", "Omnichannel START"] {
            let missing = |services: &[&str]| vec![Refusal::MissingService { services: set(services) }];
            assert_eq!(ask("", wanted, &order(&[], "START")), Verdict::Refuse(missing(&["helpdesk", "pbx"])));
            assert_eq!(ask("", wanted, &order(&["pbx"], "START")), Verdict::Refuse(missing(&["helpdesk"])));
            assert!(granted("", wanted, &everything("START")));
        }
    }

    #[test]
    fn r25_video_needs_nothing() {
        assert!(granted("", "Video", &Order::default()));
    }

    #[test]
    fn r39_r40_callcentrum_mini() {
        let mut expected =
            set(&["Callcentrum START", "Callcentrum PROFI", "Callcentrum ENTERPRISE", "Omnichannel MINI"]);
        expected.extend(set(&OMNI));
        assert_eq!(reachable("Callcentrum MINI"), expected);
    }

    #[test]
    fn r41_r42_helpdesk_mini() {
        let mut expected = set(&["Helpdesk START", "Helpdesk PROFI", "Helpdesk ENTERPRISE", "Omnichannel MINI"]);
        expected.extend(set(&OMNI));
        assert_eq!(reachable("Helpdesk MINI"), expected);
    }

    #[test]
    fn r43_omnichannel_mini() {
        assert_eq!(reachable("Omnichannel MINI"), set(&OMNI));
    }

    #[test]
    fn r44_r45_full_ones_go_to_omnichannel_only() {
        for tier in TIERS {
            assert_eq!(reachable(&format!("Callcentrum {tier}")), set(&OMNI));
            assert_eq!(reachable(&format!("Helpdesk {tier}")), set(&OMNI));
            assert!(reachable(&format!("Omnichannel {tier}")).is_empty());
        }
    }

    #[test]
    fn r46_from_video_nowhere() {
        assert!(reachable("Video").is_empty());
        assert!(built_in().licences().iter().all(|from| !reachable(&from.to_string()).contains("Video")));
    }

    #[test]
    fn r47_the_35_moves_and_no_other() {
        let catalogue = built_in();
        assert_eq!(catalogue.number_of_moves(), 35);
        let mut allowed = 0;
        for from in catalogue.licences() {
            for to in catalogue.licences() {
                let tier = to.tier.clone().or(from.tier.clone()).unwrap_or_else(|| "START".to_owned());
                if from.tier.as_ref().is_some_and(|held| *held != tier) {
                    continue; // one company has one tier
                }
                match ask(&from.to_string(), &to.to_string(), &everything(&tier)) {
                    Verdict::Take(_) => {
                        assert!(catalogue.may_move(&from, &to), "{from} -> {to}");
                        allowed += 1;
                    }
                    Verdict::Stay(_) => assert_eq!(from.product, to.product),
                    Verdict::Refuse(refusals) => {
                        assert!(matches!(&refusals[..], [Refusal::TransitionNotAllowed { .. }]), "{refusals:?}");
                        assert!(!catalogue.may_move(&from, &to));
                    }
                    Verdict::Release => panic!("{to} was wanted"),
                }
            }
        }
        // The nine cross moves of R44 and of R45 are three each within one tier.
        assert_eq!(allowed, 35 - 6 - 6);
        assert_eq!(
            decide(&catalogue, catalogue.exactly("Video").as_ref(), None, &everything("START"), true),
            Verdict::Release
        );
        assert!(granted("", "Helpdesk START", &everything("START")));
        let refused = ask("Callcentrum PROFI", "Callcentrum MINI", &everything("PROFI"));
        assert_eq!(
            refused,
            Verdict::Refuse(vec![Refusal::TransitionNotAllowed {
                from: "Callcentrum PROFI".to_owned(),
                to: "Callcentrum MINI".to_owned(),
                allowed: vec!["Omnichannel PROFI".to_owned()],
            }])
        );
    }

    #[test]
    fn r47_a_tier_that_is_not_the_companys() {
        let mismatch = |company: Option<&str>| {
            let company = company.map(str::to_owned);
            Verdict::Refuse(vec![Refusal::TierMismatch { wanted: "PROFI".to_owned(), company }])
        };
        assert_eq!(ask("", "Callcentrum PROFI", &everything("START")), mismatch(Some("START")));
        assert_eq!(ask("Callcentrum START", "Callcentrum PROFI", &everything("START")), mismatch(Some("START")));
        assert_eq!(ask("", "Callcentrum PROFI", &everything("")), mismatch(None));
    }

    #[test]
    fn r48_all_kinds_of_errors_together() {
        let Verdict::Refuse(refusals) = ask("Helpdesk PROFI", "Callcentrum START", &order(&["helpdesk"], "PROFI"))
        else {
            panic!("granted")
        };
        let codes: Vec<String> = refusals
            .iter()
            .filter_map(|refusal| Some(serde_json::to_value(refusal).ok()?.get("code")?.as_str()?.to_owned()))
            .collect();
        assert_eq!(codes, ["missing_service", "tier_mismatch", "transition_not_allowed"]);
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        let catalogue = built_in();
        for text in ["Callcentrum MINI", "callcentrum  mini", "callcentrum-mini"] {
            let wish = Wish::parse(&catalogue, text).unwrap();
            assert_eq!(wish.product.to_string(), "callcentrum-mini");
        }
        let Err(Refusal::UnknownLicence { allowed, .. }) = Wish::parse(&catalogue, "Callcentrum GOLD") else {
            panic!()
        };
        assert_eq!(allowed.len(), 13);
    }

    #[test]
    fn every_fault_of_a_catalogue_at_once() {
        let text = "tiers = ['A', 'a']\ngrace_days = -1\n\
                    [[family]]\nname = 'X'\nservices = []\ntiers = true\nmini = false\n\
                    [[family]]\nname = 'x'\nservices = []\ntiers = false\nmini = true\n\
                    [[upgrade]]\nfrom = ['X A', 'Y']\nto = ['X GOLD']\n";
        let keys: Vec<String> = read(text).unwrap_err().into_iter().map(|fault| fault.key).collect();
        assert_eq!(keys, ["grace_days", "tiers[1]", "family[1].name"]);
        let moves = "tiers = ['A']\ngrace_days = 1\n[[family]]\nname = 'X'\nservices = []\ntiers = true\nmini = false\n\
                     [[upgrade]]\nfrom = ['X A', 'Y']\nto = ['X GOLD']\n";
        let keys: Vec<String> = read(moves).unwrap_err().into_iter().map(|fault| fault.key).collect();
        assert_eq!(keys, ["upgrade[0].from[1]", "upgrade[0].to[0]"]);
        let told: Vec<String> = read("tier = []\n[[family]]\nname = 'X'\nservice = []\ntiers = 'yes'\n")
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "tiers: is missing",
            "grace_days: is missing",
            "family[0].services: is missing",
            "family[0].mini: is missing",
            "family[0].tiers = yes: must be true or false",
            "family[0].service: is unknown (did you mean services?). Allowed here: mini, name, services, tiers",
            "tier: is unknown (did you mean tiers?). Allowed here: family, grace_days, tiers, upgrade",
        ];
        assert_eq!(told, expected);
    }
}
