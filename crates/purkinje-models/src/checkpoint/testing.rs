//! Small PyTorch checkpoints written by hand, for tests: two float32 tensors `w` and `s` and what else is asked for.

/// A text of up to 255 bytes.
pub(super) fn text(text: &str) -> Vec<u8> {
    [
        b"X",
        &(text.len() as u32).to_le_bytes()[..],
        text.as_bytes(),
    ]
    .concat()
}

/// A one-dimensional tensor of the first `count` numbers of storage `key`, which holds `stored`.
pub(super) fn tensor(key: &str, count: u16, stored: u8, is_legacy: bool) -> Vec<u8> {
    let mut bytes = b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    bytes.extend(text("storage"));
    bytes.extend(b"ctorch\nFloatStorage\n");
    bytes.extend([text(key), text("cpu"), vec![b'K', stored]].concat());
    // Legacy files say of which other storage this one is a part.
    bytes.extend(if is_legacy { &b"NtQ"[..] } else { b"tQ" });
    bytes.extend(b"K\0M");
    bytes.extend(count.to_le_bytes());
    bytes.extend(b"\x85K\x01\x85\x89");
    bytes.extend(b"ccollections\nOrderedDict\n)RtR");
    bytes
}

/// `{"w": .., "s": ..}`, with two numbers and one.
pub(super) fn weights(is_legacy: bool) -> Vec<u8> {
    let mut bytes = b"ccollections\nOrderedDict\n)R(".to_vec();
    bytes.extend([text("w"), tensor("0", 2, 2, is_legacy)].concat());
    bytes.extend([text("s"), tensor("1", 1, 1, is_legacy)].concat());
    bytes.push(b'u');
    bytes
}

/// A pickle of the dictionary with these entries, each given as instructions.
pub(super) fn dictionary(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"}(".to_vec();
    for (key, value) in entries {
        bytes.extend([text(key), value.clone()].concat());
    }
    bytes.push(b'u');
    bytes
}

/// A whole pickle that makes a value.
pub(super) fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

const NUMBERS: [&[f32]; 2] = [&[1.5, -2.0], &[0.25]];

fn bytes_of(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A checkpoint as PyTorch 1.6 and later write it.
pub(super) fn zip_checkpoint(pickle: &[u8]) -> Vec<u8> {
    zip_checkpoint_named("x", pickle)
}

/// The same, with everything in a folder of this name, as when the file has this name.
pub(super) fn zip_checkpoint_named(folder: &str, pickle: &[u8]) -> Vec<u8> {
    let name = |part: &str| format!("{folder}/{part}");
    zip(&[
        (&name("data.pkl"), pickle),
        (&name("byteorder"), b"little"),
        (&name("data/0"), &bytes_of(NUMBERS[0])),
        (&name("data/1"), &bytes_of(NUMBERS[1])),
        (&name("version"), b"3\n"),
    ])
}

/// A checkpoint as PyTorch wrote it before 1.6.
pub(super) fn legacy_checkpoint(root: &[u8]) -> Vec<u8> {
    let magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    let system = dictionary(&[
        ("protocol_version", b"M\xe9\x03".to_vec()),
        ("little_endian", b"\x88".to_vec()),
    ]);
    let keys = [b"](", &text("0")[..], &text("1"), b"e"].concat();
    let mut bytes = [
        pickle(magic),
        pickle(b"M\xe9\x03"),
        pickle(&system),
        root.to_vec(),
        pickle(&keys),
    ]
    .concat();
    for numbers in NUMBERS {
        bytes.extend((numbers.len() as i64).to_le_bytes());
        bytes.extend(bytes_of(numbers));
    }
    bytes
}

/// A zip archive of uncompressed entries, without checksums as PyTorch can write it.
pub(super) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let size = (data.len() as u32).to_le_bytes();
        // Version, flags, method, time, date, checksum, both sizes, lengths of name and extra field.
        let common = [
            &[0; 14][..],
            &size,
            &size,
            &(name.len() as u16).to_le_bytes(),
            &[0; 2],
        ]
        .concat();
        directory.extend([b"PK\x01\x02\0\0", &common[..], &[0; 10]].concat());
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        file.extend([b"PK\x03\x04", &common[..], name.as_bytes(), data].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let (bytes, at) = (directory.len() as u32, file.len() as u32);
    file.extend(directory);
    // The second end record and the place where it begins, which PyTorch writes whatever the size.
    let end = (file.len() as u64).to_le_bytes();
    let wide = |number: u64| number.to_le_bytes();
    file.extend([b"PK\x06\x06", &wide(44)[..], &[0; 12]].concat());
    let entries = wide(entries.len() as u64);
    file.extend([entries, entries, wide(bytes.into()), wide(at.into())].concat());
    file.extend([b"PK\x06\x07\0\0\0\0", &end[..], &[1, 0, 0, 0]].concat());
    file.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count].concat());
    file.extend([&bytes.to_le_bytes()[..], &at.to_le_bytes(), &[0; 2]].concat());
    file
}
