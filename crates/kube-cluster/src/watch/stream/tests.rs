use proptest::prelude::*;

use super::*;

#[derive(Debug, Default, PartialEq)]
struct Cut {
    whole: Vec<String>,
    too_large: Vec<usize>,
}

impl Cut {
    fn take(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Whole(bytes) => self.whole.push(String::from_utf8_lossy(bytes).into_owned()),
            Piece::TooLarge(bytes) => self.too_large.push(bytes),
        }
    }
}

fn list(text: &[u8], chunk: usize, largest: usize) -> Result<(Cut, Page), String> {
    let mut items = Items::new(largest);
    let mut cut = Cut::default();
    for bytes in text.chunks(chunk.max(1)) {
        items.feed(bytes, &mut |piece| cut.take(piece))?;
    }
    Ok((cut, items.finish()?))
}

fn lines(text: &[u8], chunk: usize, largest: usize) -> Cut {
    let mut lines = Lines::new(largest);
    let mut cut = Cut::default();
    for bytes in text.chunks(chunk.max(1)) {
        lines.feed(bytes, &mut |piece| cut.take(piece));
    }
    cut
}

const LIST: &str = r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"a/b"},"items":[{"metadata":{"name":"a","x":"}],\"items\":[{"}},{"metadata":{"name":"b","items":[{},[{}]]}}]}"#;

#[test]
fn a_list_is_cut_into_its_items_wherever_its_bytes_are_split() {
    for chunk in 1..LIST.len() {
        let (cut, page) = list(LIST.as_bytes(), chunk, 1000).unwrap();
        assert_eq!(
            cut.whole,
            [
                r#"{"metadata":{"name":"a","x":"}],\"items\":[{"}}"#,
                r#"{"metadata":{"name":"b","items":[{},[{}]]}}"#
            ]
        );
        assert_eq!(page, Page { resource_version: "7".to_owned(), next: "a/b".to_owned() });
    }
}

#[test]
fn an_item_that_is_too_large_is_passed_over_and_the_next_one_is_not() {
    let text = LIST.replace("\"name\":\"a\"", &format!("\"name\":\"{}\"", "a".repeat(5000)));
    let (cut, _) = list(text.as_bytes(), 100, 1000).unwrap();
    assert_eq!(cut.too_large, [5046]);
    assert_eq!(cut.whole.len(), 1);
}

#[test]
fn an_indented_list_is_read_too() {
    let value: serde_json::Value = serde_json::from_str(LIST).unwrap();
    let (cut, page) = list(serde_json::to_string_pretty(&value).unwrap().as_bytes(), 7, 1000).unwrap();
    assert_eq!(cut.whole.len(), 2);
    assert_eq!(page.resource_version, "7");
}

#[test]
fn an_empty_list_is_a_list_also_with_null() {
    for items in ["[]", "null", "[ ]"] {
        let text = format!(r#"{{"kind":"XList","metadata":{{"resourceVersion":"1"}},"items":{items}}}"#);
        let (cut, page) = list(text.as_bytes(), 9, 100).unwrap();
        assert_eq!((cut, page.next.as_str()), (Cut::default(), ""));
    }
}

#[test]
fn what_is_no_list_is_not_taken_for_an_empty_one() {
    let cut_short = &LIST[..LIST.len() - 40];
    let unfinished = &LIST[..LIST.len() - 1];
    for text in [
        "",
        "{}",
        "<html>",
        "[]",
        r#"{"kind":"Status","metadata":{"resourceVersion":"1"},"code":403}"#,
        r#"{"kind":"PodList","metadata":{}}"#,
        r#"{"kind":"PodList","metadata":{"resourceVersion":""},"items":[]}"#,
        r#"{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":["a"]}"#,
        r#"{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[]}}"#,
        cut_short,
        unfinished,
    ] {
        assert!(list(text.as_bytes(), 16, 1000).is_err(), "{text}");
    }
}

#[test]
fn what_is_not_an_item_is_bounded() {
    let text = format!(r#"{{"kind":"{}"#, "x".repeat(1 << 20));
    let error = list(text.as_bytes(), 4096, 1000).unwrap_err();
    assert!(error.contains("besides the items"), "{error}");
}

#[test]
fn a_buffer_that_grew_for_one_object_is_given_back() {
    let mut lines = Lines::new(1 << 20);
    lines.feed(&[b'x'; 500_000], &mut |_| {});
    lines.feed(b"\n", &mut |piece| assert_eq!(piece, Piece::Whole(&[b'x'; 500_000])));
    assert_eq!(lines.line.buffer.capacity(), 0);
    // One that is too large is not even held while it arrives.
    for _ in 0..100 {
        lines.feed(&[b'x'; 100_000], &mut |_| {});
    }
    assert!(lines.line.buffer.capacity() <= 2 << 20);
}

#[test]
fn lines_are_cut_wherever_their_bytes_are_split() {
    for chunk in 1..20 {
        let cut = lines(b"one\n\ntwo\ntoo-large\nthree\nunfinished", chunk, 6);
        assert_eq!(cut.whole, ["one", "two", "three"]);
        assert_eq!(cut.too_large, [9]);
    }
}

#[test]
fn an_event_is_split_as_servers_write_it_and_as_they_could() {
    let object = br#"{"a":"}"}"#;
    for line in [
        r#"{"type":"ADDED","object":{"a":"}"}}"#,
        r#"{"type":"MODIFIED","object":{"a":"}"}}"#,
        r#"{ "type" : "ADDED", "object" : {"a":"}"} }"#,
        r#"{"object":{"a":"}"},"type":"ADDED"}"#,
    ] {
        assert_eq!(event(line.as_bytes()).unwrap(), (Kind::Changed, object.as_slice()), "{line}");
    }
    assert_eq!(event(br#"{"type":"DELETED","object":{}}"#).unwrap().0, Kind::Deleted);
    assert_eq!(event(br#"{"type":"BOOKMARK","object":{}}"#).unwrap().0, Kind::Bookmark);
    assert!(event(br#"{"type":"RENAMED","object":{}}"#).unwrap_err().contains("RENAMED"));
    for wrong in ["", "null", "[]", r#"{"type":"ADDED"}"#, r#"{"object":{}}"#] {
        assert!(event(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn a_status_that_says_expired_is_a_410_whatever_its_code() {
    assert_eq!(status(br#"{"code":410,"message":"too old"}"#), (410, "too old".to_owned()));
    assert_eq!(status(br#"{"reason":"Expired"}"#).0, 410);
    assert_eq!(status(br#"{"code":500,"message":"etcd"}"#), (500, "etcd".to_owned()));
    assert_eq!(status(b"nonsense").0, 500);
}

proptest! {
    #[test]
    fn any_items_come_out_as_they_went_in(
        values in prop::collection::vec(("[a-z]{1,8}", "\\PC{0,40}"), 0..20),
        chunk in 1_usize..200,
    ) {
        let objects: Vec<_> = values
            .iter()
            .map(|(name, text)| serde_json::json!({"metadata": {"name": name, "items": [text]}, text.as_str(): [{}]}))
            .collect();
        let whole = serde_json::json!({"kind": "TList", "items": objects, "metadata": {"resourceVersion": "3"}});
        let (cut, page) = list(whole.to_string().as_bytes(), chunk, 1 << 20).unwrap();
        let parsed: Vec<serde_json::Value> =
            cut.whole.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        prop_assert_eq!(parsed, objects);
        prop_assert_eq!(page.resource_version, "3");
    }

    #[test]
    fn any_bytes_are_answered(text in prop::collection::vec(any::<u8>(), 0..300), chunk in 1_usize..50) {
        let _ = list(&text, chunk, 64);
        lines(&text, chunk, 64);
        let _ = event(&text);
    }
}
