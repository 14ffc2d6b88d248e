//! The few marks of Markdown that openapi.yaml uses, as HTML: paragraphs, lists, `code`, **weight**.

use std::fmt::Write;

/// Text as it stands between tags and in attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// One line of text.
pub(super) fn inline(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            push!(out, "<code>{}</code>", escape(part));
            continue;
        }
        for (index, part) in part.split("**").enumerate() {
            match index % 2 {
                1 => push!(out, "<b>{}</b>", escape(part)),
                _ => out.push_str(&escape(part)),
            }
        }
    }
    out
}

/// Paragraphs and lists, which empty lines separate.
pub(super) fn block(text: &str) -> String {
    let mut out = String::new();
    for paragraph in text.trim().split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        if paragraph.starts_with("* ") {
            let items = paragraph.lines().map(|line| line.trim_start_matches("* "));
            out.push_str("<ul>");
            items.for_each(|item| push!(out, "<li>{}</li>", inline(item)));
            out.push_str("</ul>\n");
        } else {
            push!(out, "<p>{}</p>\n", inline(&paragraph.replace('\n', " ")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_tags_and_nothing_else_does() {
        let cases = [
            ("a `<b>` & **c**", "<p>a <code>&lt;b&gt;</code> &amp; <b>c</b></p>\n"),
            ("one\n\ntwo\nthree", "<p>one</p>\n<p>two three</p>\n"),
            ("* a\n* `**`", "<ul><li>a</li><li><code>**</code></li></ul>\n"),
            ("", ""),
        ];
        for (text, html) in cases {
            assert_eq!(block(text), html, "{text}");
        }
    }
}
