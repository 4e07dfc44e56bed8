//! Each of the README's guarantees names what holds it, and that is there.

use crate::map::section;

/// Rows that name nothing, and names of tests, promises and files that are not there.
///
/// `texts` are all files that may hold them, by their paths.
pub(crate) fn unproven(readme: &str, texts: &[(String, String)]) -> Vec<String> {
    let Some(section) = section(readme, "guarantees") else {
        return vec!["README.md: no section \"Guarantees\"".to_owned()];
    };
    let rows = section.iter().filter_map(|line| line.strip_prefix("| "));
    let mut faults = Vec::new();
    // The first is the head of the table.
    for row in rows.skip(1) {
        let held_by = row.rsplit(" | ").next().unwrap_or_default();
        let names: Vec<_> = held_by.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            faults.push(format!("README.md: nothing holds: {row}"));
        }
        let missing = names.iter().filter(|name| !is_there(name, texts));
        faults.extend(
            missing.map(|name| format!("README.md: {name} holds a guarantee and is not there")),
        );
    }
    faults
}

fn is_there(name: &str, texts: &[(String, String)]) -> bool {
    let proof = match name.strip_prefix("promises: ") {
        Some(promise) => format!("name: \"{promise}\","),
        None => format!("fn {name}("),
    };
    texts
        .iter()
        .any(|(path, text)| path == name || text.contains(&proof))
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "## Guarantees\n\n| promise | held by |\n|---|---|\n| it works | `it_works`, `promises: works` |\n";

    fn files(text: &str) -> Vec<(String, String)> {
        vec![("tests/it.rs".to_owned(), text.to_owned())]
    }

    #[test]
    fn guarantees_that_are_held_have_no_fault() {
        let texts = files("fn it_works() {} Promise { name: \"works\", }");
        assert!(unproven(README, &texts).is_empty());
    }

    #[test]
    fn a_guarantee_that_nothing_holds_is_found() {
        assert_eq!(unproven(README, &files("fn it_works() {}")).len(), 1);
        assert_eq!(unproven(README, &files("")).len(), 2);
        let bare = README.replace('`', "");
        assert_eq!(unproven(&bare, &files("")).len(), 1);
        assert_eq!(unproven("## Other", &[]).len(), 1);
    }
}
