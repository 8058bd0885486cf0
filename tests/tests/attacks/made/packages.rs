//! Packages that reach out of their slot, unpack to more than they say, or are two things at once.

use cutover_shared::digest::Digest;
use cutover_shared::package::chunk;

use super::{COORDINATOR, NETWORK, SUBMITTER};
use crate::entrance::{Entrance, Expected};
use crate::fixture::Attack;

const TRAVERSAL: &str = "CWE-22: path traversal (\"zip slip\")";
const LINKS: &str = "CWE-59: link following";
const COLLISION: &str = "CWE-178: improper handling of case sensitivity";
const BOMB: &str = "CWE-409: highly compressed data (\"zip bomb\")";
const WRONG: &str = "TUF 1.0.33, 1.5.2: wrong software installation";

/// An index of these entries, each a path and a kind in JSON, as its one spelling has them.
fn index(entries: &[(&str, String)]) -> String {
    let entries: Vec<_> = entries
        .iter()
        .map(|(path, kind)| {
            format!("{{\"path\":{},\"kind\":{kind}}}", serde_json::to_string(path).unwrap())
        })
        .collect();
    format!("{{\"schema\":1,\"entries\":[{}]}}", entries.join(","))
}

fn directory() -> String {
    "{\"directory\":{\"mode\":\"0755\"}}".to_owned()
}

fn file() -> String {
    with_mode("0644")
}

fn with_mode(mode: &str) -> String {
    let digest = Digest::of(b"");
    format!("{{\"file\":{{\"mode\":\"{mode}\",\"size\":0,\"digest\":\"{digest}\",\"chunks\":[]}}}}")
}

fn sized(size: u64, chunks: &str) -> String {
    let digest = Digest::of(b"content");
    format!(
        "{{\"file\":{{\"mode\":\"0644\",\"size\":{size},\"digest\":\"{digest}\",\"chunks\":[{chunks}]}}}}"
    )
}

fn link(target: &str) -> String {
    format!("{{\"link\":{{\"target\":{}}}}}", serde_json::to_string(target).unwrap())
}

fn package(name: &'static str, title: &str, entries: &[(&str, String)]) -> Attack {
    Attack::new(name, title, Entrance::Index).file("index.json", index(entries))
}

const HONEST: &str = "schema = 1";

pub(super) fn controls() -> Vec<Attack> {
    let content = b"the content".repeat(9);
    let manifest = include_str!("../../../tutorial/site/release.toml");
    assert!(manifest.contains(HONEST));
    vec![
        package(
            "an index",
            "",
            &[
                ("payload", directory()),
                ("payload/a", file()),
                ("payload/b", link("a")),
                ("payload/straße", file()),
            ],
        ),
        Attack::new("a chunk", "", Entrance::Chunk)
            .file("chunk.zst", chunk::deflate(&content))
            .given(&Expected { digest: Digest::of(&content), length: 99 }),
        Attack::new("a map", "", Entrance::Map).file("map.bin", map(&[record(b"a", 0, 100)])),
        Attack::new("a manifest", "", Entrance::Manifest).file("release.toml", manifest),
    ]
}

pub(super) fn attacks() -> Vec<Attack> {
    [paths(), links(), collisions(), trees(), spellings(), chunks(), maps(), manifests()].concat()
}

fn paths() -> Vec<Attack> {
    let within = |name, title, path: &str| {
        package(name, title, &[("payload", directory()), (path, file())]).by(SUBMITTER, TRAVERSAL)
    };
    vec![
        within(
            "path-upwards",
            "A file that climbs out of its slot.",
            "payload/../../../etc/cron.d/x",
        )
        .fails("the index cannot be read: the path has a component \"..\" at line 1 column 118"),
        within("path-absolute", "A file with a place of its own on the host.", "/etc/cron.d/x")
            .fails("the index cannot be read: the path is absolute at line 1 column 102"),
        within(
            "path-with-a-dot",
            "A second spelling of a path that another entry has.",
            "payload/./a",
        )
        .fails("the index cannot be read: the path has a component \".\" at line 1 column 100"),
        within("path-with-an-empty-part", "The same, with two slashes.", "payload//a").fails("the index cannot be read: the path has an empty component at line 1 column 99"),
        within(
            "path-with-a-nul",
            "A path that C reads as another, shorter one.",
            "payload/a\0.txt",
        )
        .fails("the index cannot be read: the path has the unprintable character U+0000 at line 1 column 108"),
        within(
            "path-that-shows-backwards",
            "A name that a reviewer sees as another: the override turns what is behind it round.",
            "payload/\u{202e}txt.exe",
        )
        .by(SUBMITTER, "CVE-2021-42574: bidirectional override (\"trojan source\")")
        .fails("the index cannot be read: the path has the unprintable character U+202E at line 1 column 107"),
        within(
            "path-with-an-arabic-letter-mark",
            "The same with the one directional mark that is not in a row with the others.",
            "payload/\u{61c}a",
        )
        .by(SUBMITTER, "Unicode UAX 9, section 2.6: implicit directional marks")
        .fails("the index cannot be read: the path has the unprintable character U+061C at line 1 column 100"),
        within(
            "path-with-invisible-tags",
            "A name that ends in tag characters, which nothing shows.",
            "payload/a\u{e0062}\u{e007f}",
        )
        .by(SUBMITTER, "Unicode UTS 39: invisible characters")
        .fails("the index cannot be read: the path has the unprintable character U+E0062 at line 1 column 106"),
        within(
            "path-with-a-soft-hyphen",
            "A name that looks like another one's: the hyphen shows at the end of a line only.",
            "payload/ser\u{ad}vice",
        )
        .by(SUBMITTER, "Unicode UTS 39: invisible characters")
        .fails("the index cannot be read: the path has the unprintable character U+00AD at line 1 column 106"),
        within(
            "path-too-long",
            "A component that no file system takes, so that applying fails half way.",
            &format!("payload/{}", "a".repeat(256)),
        )
        .by(SUBMITTER, "DESIGN 9: bounded sizes")
        .fails("the index cannot be read: a component of the path is longer than 255 bytes at line 1 column 353"),
    ]
}

fn links() -> Vec<Attack> {
    let with = |name, title, links: &[(&str, &str)]| {
        let mut entries = vec![("payload", directory()), ("payload/d", directory())];
        entries.extend(links.iter().map(|(path, target)| (*path, link(target))));
        package(name, title, &entries).by(SUBMITTER, LINKS)
    };
    let circle = [("payload/one", "two"), ("payload/two", "one")];
    let chain: Vec<(String, String)> =
        (10..52).map(|n| (format!("payload/x{n}"), format!("x{}", n + 1))).collect();
    let chain: Vec<_> = chain.iter().map(|(path, to)| (path.as_str(), to.as_str())).collect();
    vec![
        with("link-absolute", "A link to a file of the host.", &[("payload/x", "/etc/shadow")])
            .fails("the link payload/x is refused: its target is refused: the path is absolute"),
        with("link-upwards", "A link that climbs out of the slot.", &[("payload/x", "../../../x")])
            .fails("the link payload/x is refused: it leads out of the package"),
        with(
            "link-through-a-link",
            "Each of two links stays inside as text; one through the other leads out.",
            &[("payload/d/up", "../.."), ("payload/x", "d/up/../../etc")],
        )
        .fails("the link payload/x is refused: it leads out of the package"),
        with("links-in-a-circle", "Two links that lead to each other.", &circle).fails(
            "the link payload/one is refused: it leads in a circle, or through more than 40 links",
        ),
        with("links-in-a-long-chain", "More links in a row than Linux follows.", &chain).fails(
            "the link payload/x10 is refused: it leads in a circle, or through more than 40 links",
        ),
        package(
            "link-as-a-directory",
            "A link out of the slot, and a file that would be written through it.",
            &[
                ("payload", directory()),
                ("payload/x", link(".")),
                ("payload/x/authorized_keys", file()),
            ],
        )
        .by(SUBMITTER, LINKS)
        .fails("payload/x/authorized_keys is not in a directory of the package"),
    ]
}

fn collisions() -> Vec<Attack> {
    let two = |name, title, one: &str, other: &str| {
        package(name, title, &[("payload", directory()), (one, file()), (other, file())])
            .by(SUBMITTER, COLLISION)
    };
    vec![
        two(
            "names-that-differ-in-case",
            "Two files that are one where case does not count.",
            "payload/README",
            "payload/readme",
        )
        .fails("payload/README and payload/readme differ in case or Unicode form only"),
        two(
            "names-that-differ-in-form",
            "é as one character, and as a letter with an accent.",
            "payload/cafe\u{301}",
            "payload/caf\u{e9}",
        )
        .fails("payload/cafe\u{301} and payload/caf\u{e9} differ in case or Unicode form only"),
        two(
            "names-that-differ-in-sharp-s",
            "ß and ss are one where case is folded.",
            "payload/strasse",
            "payload/stra\u{df}e",
        )
        .fails("payload/strasse and payload/straße differ in case or Unicode form only"),
        two("names-that-are-the-same", "One path twice.", "payload/a", "payload/a")
            .by(SUBMITTER, WRONG)
            .fails("payload/a is not behind the entry before it"),
    ]
}

fn trees() -> Vec<Attack> {
    let one = |name, title, kind: String| {
        package(name, title, &[("payload", directory()), ("payload/a", kind)])
    };
    let two = Digest::of(b"content");
    let huge = u64::from(chunk::MAX_CHUNK) + 1;
    vec![
        one("mode-set-user-id", "A program that runs as its owner.", with_mode("4755"))
            .by(SUBMITTER, "CWE-250: execution with unnecessary privileges")
            .fails("the index cannot be read: \"4755\" is no mode: expected four octal digits, at most 0777 at line 1 column 128"),
        one("mode-for-everybody", "A file that everybody may write.", with_mode("0666"))
            .by(SUBMITTER, "CWE-732: incorrect permission assignment")
            .fails("payload/a has mode 0666"),
        package(
            "file-as-a-directory",
            "A file below a file.",
            &[("payload", directory()), ("payload/a", file()), ("payload/a/b", file())],
        )
        .by(SUBMITTER, WRONG)
        .fails("payload/a/b is not in a directory of the package"),
        package(
            "file-in-no-directory",
            "A file whose directory nobody reviewed.",
            &[("payload/a", file())],
        )
        .by(SUBMITTER, WRONG)
        .fails("payload/a is not in a directory of the package"),
        one(
            "file-larger-than-its-chunks",
            "A file that says it is larger than what it is made of.",
            sized(8, &format!("{{\"digest\":\"{two}\",\"length\":7}}")),
        )
        .by(SUBMITTER, BOMB)
        .fails("payload/a is not the sum of its chunks"),
        one(
            "file-of-one-huge-chunk",
            "A chunk that is larger than any reader makes room for.",
            sized(huge, &format!("{{\"digest\":\"{two}\",\"length\":{huge}}}")),
        )
        .by(SUBMITTER, BOMB)
        .fails("payload/a has a chunk of a length that it cannot have"),
        one(
            "file-without-end",
            "A file of 16 EiB.",
            sized(u64::MAX, &format!("{{\"digest\":\"{two}\",\"length\":7}}")),
        )
        .by(SUBMITTER, "TUF 1.0.33, 1.5.2: endless data attack")
        .fails("payload/a is larger than 68719476736 bytes"),
    ]
}

fn spellings() -> Vec<Attack> {
    let honest = index(&[("payload", directory()), ("payload/a", file())]);
    let raw = |name, title, text: String| {
        assert_ne!(text, honest, "{name}");
        Attack::new(name, title, Entrance::Index)
            .file("index.json", text)
            .by(SUBMITTER, "DESIGN 9: the package digest is that of the index")
    };
    vec![
        raw(
            "index-in-another-spelling",
            "The same package under a second digest, which nobody denied.",
            honest.replace("\"schema\":1", "\"schema\": 1"),
        )
        .fails("the index is not in its one spelling"),
        raw(
            "index-with-a-field-twice",
            "An entry with two kinds, of which each reader takes another.",
            honest.replacen("\"kind\":", "\"kind\":{\"link\":{\"target\":\"b\"}},\"kind\":", 1),
        )
        .fails("the index cannot be read: duplicate field `kind` at line 1 column 78"),
        raw(
            "index-with-a-field-unknown",
            "An owner, which only the host may say.",
            honest.replacen("\"mode\":", "\"owner\":\"root\",\"mode\":", 1),
        )
        .fails(
            "the index cannot be read: unknown field `owner`, expected `mode` at line 1 column 69",
        ),
        raw(
            "index-of-another-version",
            "An index of a version with other rules.",
            honest.replace("\"schema\":1", "\"schema\":2"),
        )
        .fails("the index has schema version 2, this program reads version 1"),
        raw(
            "index-out-of-order",
            "A file before its directory.",
            index(&[("payload/a", file()), ("payload", directory())]),
        )
        .fails("payload is not behind the entry before it"),
    ]
}

/// 16 MiB, with and without a header that says so.
fn bombs() -> (Vec<u8>, Vec<u8>) {
    let content = vec![0; 16 << 20];
    let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
    encoder.include_contentsize(false).unwrap();
    std::io::Write::write_all(&mut encoder, &content).unwrap();
    let bombs = (zstd::bulk::compress(&content, 19).unwrap(), encoder.finish().unwrap());
    assert!(bombs.0.len() < 2000 && bombs.1.len() < 2000, "small files");
    bombs
}

fn chunks() -> Vec<Attack> {
    let content = b"the content".repeat(9);
    let digest = Digest::of(&content);
    let chunk = |name, title, stored: Vec<u8>, length| {
        Attack::new(name, title, Entrance::Chunk)
            .file("chunk.zst", stored)
            .given(&Expected { digest, length })
    };
    let (bomb, silent) = bombs();
    let mut twice = chunk::deflate(&content);
    twice.extend(chunk::deflate(&content));
    vec![
        chunk(
            "chunk-that-inflates-to-sixteen-megabytes",
            "A few hundred bytes that become 16 MiB.",
            bomb,
            99,
        )
        .by(COORDINATOR, BOMB)
        .fails("chunk 2378beb66a47 does not inflate to 99 bytes: Destination buffer is too small: 16777216 bytes needed, 99 given"),
        chunk(
            "chunk-that-does-not-say-how-large",
            "The same without the size in its header.",
            silent,
            99,
        )
        .by(COORDINATOR, BOMB)
        .fails("chunk 2378beb66a47 does not inflate to 99 bytes: Destination buffer is too small"),
        chunk("chunk-with-more-behind", "A second frame behind the chunk's.", twice, 99)
            .by(NETWORK, BOMB)
            .fails("chunk 2378beb66a47 does not inflate to 99 bytes: Destination buffer is too small: 198 bytes needed, 99 given"),
        chunk(
            "chunk-with-another-content",
            "Other bytes of the same length: another program.",
            chunk::deflate(&b"another one".repeat(9)),
            99,
        )
        .by(COORDINATOR, WRONG)
        .fails("chunk 2378beb66a47 has the content of 2f7c0e5914c2"),
        chunk(
            "chunk-that-is-too-short",
            "The beginning of the chunk.",
            chunk::deflate(&content[..50]),
            99,
        )
        .by(COORDINATOR, WRONG)
        .fails("chunk 2378beb66a47 inflates to 50 bytes instead of 99"),
        chunk(
            "chunk-stored-without-end",
            "More stored bytes than any chunk can need.",
            chunk::deflate(&content),
            99,
        )
        .padded("chunk.zst", "0123456789abcdef", 16_641)
        .by(NETWORK, "TUF 1.0.33, 1.5.2: endless data attack")
        .fails("chunk 2378beb66a47 is stored in 266283 bytes, at most 266240 are possible"),
        chunk(
            "chunk-that-is-asked-for-too-large",
            "A reference that asks for 4 GiB.",
            chunk::deflate(&content),
            u32::MAX,
        )
        .by(SUBMITTER, BOMB)
        .fails("chunk 2378beb66a47 is said to have 4294967295 bytes, more than none and at most 262144 are possible"),
    ]
}

fn record(chunk: &[u8], offset: u64, stored: u32) -> Vec<u8> {
    [
        &Digest::of(chunk).as_bytes()[..],
        Digest::of(b"pack").as_bytes(),
        &offset.to_be_bytes(),
        &stored.to_be_bytes(),
    ]
    .concat()
}

fn map(records: &[Vec<u8>]) -> Vec<u8> {
    [b"cutover-map/1\n", records.concat().as_slice()].concat()
}

fn maps() -> Vec<Attack> {
    let with = |name, title, bytes| {
        Attack::new(name, title, Entrance::Map)
            .file("map.bin", bytes)
            .by(NETWORK, "DESIGN 9: nothing in a map is trusted")
    };
    let twice = [record(b"a", 0, 100), record(b"a", 100, 100)];
    let torn = map(&[record(b"a", 0, 100)]);
    vec![
        with("map-with-a-chunk-twice", "One chunk in two places.", map(&twice))
            .fails("the record of chunk ca978112ca1b is not behind the one before it"),
        with(
            "map-beyond-its-pack",
            "A place behind the last byte that there can be.",
            map(&[record(b"a", u64::MAX, 100)]),
        )
        .fails("chunk ca978112ca1b is said to lie where none can lie"),
        with(
            "map-with-an-empty-place",
            "A chunk of no bytes, asked for for ever.",
            map(&[record(b"a", 0, 0)]),
        )
        .fails("chunk ca978112ca1b is said to lie where none can lie"),
        with("map-that-is-torn", "A record without its end.", torn[..torn.len() - 1].to_vec())
            .fails("the map ends within a record"),
        with("map-of-another-version", "Another document.", b"cutover-map/2\n".to_vec())
            .fails("the map does not begin as one of version 1 does"),
    ]
}

fn manifests() -> Vec<Attack> {
    let honest = include_str!("../../../tutorial/site/release.toml");
    let with = |name, title, text: String| {
        assert_ne!(text, honest, "{name}");
        Attack::new(name, title, Entrance::Manifest).file("release.toml", text)
    };
    let nested = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    vec![
        with(
            "manifest-with-a-field-unknown",
            "A field that this version passes over and the next one obeys.",
            format!("run-as = \"root\"\n{honest}"),
        )
        .by(SUBMITTER, "PROCESS 4: unknown fields are errors")
        .fails("run-as: no such field is known"),
        with(
            "manifest-with-a-field-twice",
            "Two versions in one manifest.",
            format!("version = \"0.9\"\n{honest}"),
        )
        .by(SUBMITTER, "TOML 1.0: a key must not be defined twice")
        .fails(": it is not TOML: duplicate key"),
        with(
            "manifest-nested-deeply",
            "Lists in lists: a reader that calls itself runs out of stack.",
            format!("deep = {nested}\n{honest}"),
        )
        .by(SUBMITTER, "TUF 1.0.33, 1.5.2: endless data attack")
        .fails(": it is not TOML: cannot recurse further; max recursion depth met"),
    ]
}
