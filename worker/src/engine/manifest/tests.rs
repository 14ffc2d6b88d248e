use std::fs;

use super::*;

fn settings() -> EngineSettings {
    EngineSettings::of("test 1").with("context_length", 16_u32).with("a", "b")
}

#[test]
fn the_document_has_one_form_and_its_hash_is_the_digest() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("part")).unwrap();
    fs::write(folder.path().join("part/z"), "").unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let manifest = Manifest::of_folder(folder.path(), &settings()).unwrap();
    let expected = concat!(
        r#"{"schema":"cocoon/model/v1","engine":"test 1","settings":{"a":"b","context_length":16},"#,
        r#""files":[{"name":"config.json","size":2,"#,
        r#""sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"#,
        r#"{"name":"part/z","size":0,"#,
        r#""sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}"#,
    );
    assert_eq!(manifest.document(), expected);
    let digest: [u8; 32] = Sha256::digest(expected).into();
    assert_eq!(manifest.digest(), digest);
}

#[test]
fn every_byte_name_and_setting_counts_and_hidden_files_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let digest = || Manifest::of_folder(folder.path(), &settings()).unwrap().digest();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let first = digest();
    for other in [
        EngineSettings::of("test 2").with("context_length", 16_u32).with("a", "b"),
        settings().with("context_length", 17_u32),
        settings().with("more", "x"),
    ] {
        assert_ne!(first, Manifest::of_folder(folder.path(), &other).unwrap().digest());
    }
    assert_eq!(settings(), settings().with_some("none", None::<u32>));

    fs::write(folder.path().join(".lock"), "x").unwrap();
    assert_eq!(first, digest());

    fs::create_dir(folder.path().join("part")).unwrap();
    fs::write(folder.path().join("part/a"), "").unwrap();
    let second = digest();
    assert_ne!(first, second);

    fs::write(folder.path().join("part/a"), "1").unwrap();
    assert_ne!(second, digest());
    fs::remove_dir_all(folder.path().join("part")).unwrap();
    assert_eq!(first, digest());
}

#[test]
fn a_folder_that_is_no_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("1/2/3/4/5/6/7/8");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("x"), "").unwrap();
    let refused = Manifest::of_folder(folder.path(), &settings());
    assert!(matches!(refused, Err(ManifestError::TooLarge { .. })));
    let missing = Manifest::of_folder(&folder.path().join("none"), &settings());
    assert!(matches!(missing, Err(ManifestError::Read { .. })));
}
