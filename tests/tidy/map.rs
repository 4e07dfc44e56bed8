//! ARCHITECTURE.md names what is there, and nothing else.

use std::collections::BTreeSet;

use crate::source::Source;

/// Files of `src/` that the section "Code map" does not name.
///
/// A name is a path that ends in `.rs`, relative to `src/` or to the package; `files` are relative to
/// the package.
pub(crate) fn code_map(architecture: &str, files: &[String]) -> Vec<String> {
    let Some(map) = section(architecture, "code map") else {
        return vec!["ARCHITECTURE.md: no section \"Code map\"".to_owned()];
    };
    let names: BTreeSet<_> = map.iter().flat_map(|line| rust_paths(line)).collect();
    files
        .iter()
        .filter(|file| {
            file.strip_prefix("src/")
                .is_some_and(|short| !names.contains(short))
        })
        .filter(|file| !names.contains(file.as_str()))
        .map(|file| format!("{file}: not in ARCHITECTURE.md's code map"))
        .collect()
}

/// Files that ARCHITECTURE.md names anywhere, as the code map does, and that are not there.
pub(crate) fn stale_files(architecture: &str, files: &[String]) -> Vec<String> {
    let is_there = |name: &str| {
        files
            .iter()
            .any(|file| file == name || file.strip_prefix("src/") == Some(name))
    };
    let named = (1..).zip(architecture.lines()).flat_map(|(number, line)| {
        let names: BTreeSet<_> = rust_paths(line).collect();
        names.into_iter().map(move |name| (number, name))
    });
    named
        .filter(|(_, name)| !is_there(name))
        .map(|(number, name)| {
            format!("ARCHITECTURE.md:{number}: names {name}, which is not there: write its path from src/ or the package")
        })
        .collect()
}

/// Public constants without a doc comment or that the table under "Limits" does not name, and names in
/// the table's first column that are no constant.
pub(crate) fn limits(architecture: &str, limits: &Source) -> Vec<String> {
    let Some(section) = section(architecture, "limits") else {
        return vec!["ARCHITECTURE.md: no section \"Limits\"".to_owned()];
    };
    let rows: Vec<_> = section
        .iter()
        .filter_map(|line| line.trim().strip_prefix('|'))
        .collect();
    let listed: BTreeSet<_> = rows.iter().flat_map(|row| constants_of(row)).collect();
    let first_column = rows
        .iter()
        .flat_map(|row| constants_of(row.split('|').next().unwrap_or_default()));
    let declared = declared_constants(limits);
    let mut faults = Vec::new();
    for (name, line) in &declared {
        let place = format!("src/{}:{line}: {name}", limits.path);
        if !is_documented(&limits.text, *line) {
            faults.push(format!(
                "{place} has no doc comment: give its unit and its reason"
            ));
        }
        if !listed.contains(name.as_str()) {
            faults.push(format!(
                "{place} is not in ARCHITECTURE.md's table of limits"
            ));
        }
    }
    let stale: BTreeSet<_> = first_column
        .filter(|name| declared.iter().all(|(known, _)| known != name))
        .collect();
    faults.extend(stale.iter().map(|name| {
        format!("ARCHITECTURE.md: the table of limits names {name}, which is not there")
    }));
    faults
}

/// The lines under the first heading that contains `title`, in any case, up to the next heading of its
/// level or a higher one. A `#` inside a code block is no heading.
pub(crate) fn section<'a>(markdown: &'a str, title: &str) -> Option<Vec<&'a str>> {
    let mut fenced = false;
    let mut lines = markdown.lines().map(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        let level = if fenced || fence {
            0
        } else {
            heading_level(line)
        };
        (line, level)
    });
    let (_, level) =
        lines.find(|(line, level)| *level > 0 && line.to_lowercase().contains(title))?;
    Some(
        lines
            .take_while(|(_, next)| *next == 0 || *next > level)
            .map(|(line, _)| line)
            .collect(),
    )
}

fn heading_level(line: &str) -> usize {
    let level = line.len() - line.trim_start_matches('#').len();
    if line[level..].starts_with(' ') {
        level
    } else {
        0
    }
}

fn rust_paths(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '/' | '.' | '-'))
        .filter(|path| path.ends_with(".rs"))
}

/// Words in back ticks that are written like a constant.
fn constants_of(cell: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let ticked = cell.split('`').skip(1).step_by(2);
    ticked
        .map(|word| word.rsplit("::").next().unwrap_or(word))
        .filter(move |word| word.len() > 1 && word.chars().all(is_part))
}

/// Every `pub const NAME:` outside tests, with its line. `pub(crate)` counts as well.
fn declared_constants(source: &Source) -> Vec<(String, usize)> {
    let words = source.words.windows(4).filter(|w| {
        !w[0].test && matches!(&*w[0].text, "pub" | ")") && w[1].text == "const" && w[3].text == ":"
    });
    words.map(|w| (w[2].text.clone(), w[1].line)).collect()
}

/// Whether a doc comment stands above `line`, attributes between them or not.
fn is_documented(text: &str, line: usize) -> bool {
    let above: Vec<_> = text.lines().take(line - 1).map(str::trim).collect();
    above
        .iter()
        .rev()
        .find(|line| !line.starts_with("#["))
        .is_some_and(|line| line.starts_with("///"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "# Netwheel\n`gone_elsewhere.rs`\n## 4. Code map\n### floor 0\n```text\n# floor 0\n\
        error.rs         words\ncodec/mod.rs     shapes\n```\n- `src/lib.rs` and `tests/echo.rs`.\n## Next\n`later.rs`\n";

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_true_map_has_no_fault() {
        let files = files(&[
            "src/error.rs",
            "src/codec/mod.rs",
            "src/lib.rs",
            "tests/echo.rs",
            "tests/other.rs",
        ]);
        assert_eq!(code_map(MAP, &files), [""; 0]);
    }

    #[test]
    fn a_file_that_the_map_leaves_out_is_found() {
        let files = files(&["src/error.rs", "src/later.rs", "src/codec/error.rs"]);
        assert_eq!(
            code_map(MAP, &files),
            [
                "src/later.rs: not in ARCHITECTURE.md's code map",
                "src/codec/error.rs: not in ARCHITECTURE.md's code map",
            ]
        );
    }

    #[test]
    fn a_name_without_its_file_is_found_anywhere() {
        let files = files(&["src/a.rs", "src/deep/b.rs", "tests/c.rs"]);
        let text = "`a.rs`, `src/a.rs` and `tests/c.rs`\n## Limits\n| `A` | `b.rs`, `b.rs` |\n\
            ```text\ngone.rs   deep/b.rs\n```\n";
        assert_eq!(
            stale_files(text, &files),
            [
                "ARCHITECTURE.md:3: names b.rs, which is not there: write its path from src/ or the package",
                "ARCHITECTURE.md:5: names gone.rs, which is not there: write its path from src/ or the package",
            ]
        );
    }

    #[test]
    fn a_missing_section_is_found() {
        assert_eq!(code_map("# Netwheel\n```\n# Code map\n```\n", &[]).len(), 1);
        assert_eq!(limits("", &Source::new("limits.rs", "")).len(), 1);
    }

    #[test]
    fn limits_that_agree_have_no_fault() {
        let architecture = "## 7. Limits\n| limit | default |\n|---|---|\n| `limits::FRAME_BYTES_MAX` | 1 MiB |\n\
            | backlog (`BACKLOG`, `ACCEPTS`) | `SO_REUSEPORT` |\n";
        let source = "//! Limits.\n/// Bytes.\npub const FRAME_BYTES_MAX: usize = 1 << 20;\n/// Queue.\n#[rustfmt::skip]\n\
            pub const BACKLOG: u32 = 1;\n/// Batch.\npub(crate) const ACCEPTS: u32 = 1;\nconst KIB: u8 = 1;\npub const fn f<const N: usize>() {}\n\
            #[cfg(test)] mod tests { pub const HERE: u8 = 1; }";
        assert_eq!(
            limits(architecture, &Source::new("limits.rs", source)),
            [""; 0]
        );
    }

    #[test]
    fn limits_that_differ_are_found() {
        let architecture = "Text `BARE`.\n## Limits\n`BARE` is prose.\n| limit |\n|---|\n| `GONE` | `SO_LINGER` |\n| `PLAIN` |\n";
        let source = "//! Limits.\n\npub const BARE: u8 = 1;\n// No doc.\npub const PLAIN: u8 = 2;";
        assert_eq!(
            limits(architecture, &Source::new("limits.rs", source)),
            [
                "src/limits.rs:3: BARE has no doc comment: give its unit and its reason",
                "src/limits.rs:3: BARE is not in ARCHITECTURE.md's table of limits",
                "src/limits.rs:5: PLAIN has no doc comment: give its unit and its reason",
                "ARCHITECTURE.md: the table of limits names GONE, which is not there",
            ]
        );
    }
}
