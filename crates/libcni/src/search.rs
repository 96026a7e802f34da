//! Where the executables of plugins are looked for.

use std::ffi::OsString;
use std::path::PathBuf;

/// The folders of plugin executables, in order. The same list is given to plugins as `CNI_PATH` (C-13).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search(pub Vec<PathBuf>);

impl Search {
    /// The folders of a `CNI_PATH`, empty parts left out.
    pub fn from_path_list(list: &str) -> Search {
        Search(list.split(':').filter(|part| !part.is_empty()).map(PathBuf::from).collect())
    }

    /// The first regular file of this name (C-89). A type that holds a path separator is refused (C-8). The
    /// error is libcni's text.
    pub fn find(&self, plugin_type: &str) -> Result<PathBuf, String> {
        if plugin_type.is_empty() {
            return Err("no plugin name provided".to_owned());
        }
        // `..` and `.` are no regular files; a NUL or a megabyte is no file name at all.
        if plugin_type.contains(['/', '\0']) || plugin_type.len() > 255 {
            let shown: String = plugin_type.chars().take(64).collect();
            return Err(format!("invalid plugin name: {}", shown.replace('\0', "\\x00")));
        }
        if self.0.is_empty() {
            return Err("no paths provided".to_owned());
        }
        let found = self.0.iter().map(|dir| dir.join(plugin_type)).find(|path| path.is_file());
        found.ok_or_else(|| {
            let dirs: Vec<String> = self.0.iter().map(|dir| dir.display().to_string()).collect();
            format!("failed to find plugin {plugin_type:?} in path [{}]", dirs.join(" "))
        })
    }

    /// The value of `CNI_PATH`.
    pub fn path_list(&self) -> OsString {
        let mut list = OsString::new();
        for (index, dir) in self.0.iter().enumerate() {
            if index > 0 {
                list.push(":");
            }
            list.push(dir);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c89_the_first_regular_file_wins() {
        let root = tempfile::tempdir().unwrap();
        let dir = |name: &str| root.path().join(name);
        for name in ["a", "b", "c"] {
            std::fs::create_dir(dir(name)).unwrap();
        }
        // A directory of that name is no plugin.
        std::fs::create_dir(dir("a").join("bridge")).unwrap();
        std::fs::write(dir("b").join("bridge"), "").unwrap();
        std::fs::write(dir("c").join("bridge"), "").unwrap();
        let search = Search(vec![dir("a"), dir("b"), dir("c")]);
        assert_eq!(search.find("bridge").unwrap(), dir("b").join("bridge"));
    }

    #[test]
    fn c14_a_missing_plugin_is_named_with_the_folders() {
        let search = Search::from_path_list("/nonexistent/a::/nonexistent/b");
        let text = search.find("X").unwrap_err();
        assert_eq!(text, r#"failed to find plugin "X" in path [/nonexistent/a /nonexistent/b]"#);
        assert_eq!(search.path_list(), "/nonexistent/a:/nonexistent/b");
        assert_eq!(Search::default().find("X").unwrap_err(), "no paths provided");
    }

    #[test]
    fn c8_a_type_with_a_path_separator_is_refused() {
        let search = Search(vec!["/bin".into()]);
        assert_eq!(search.find("../bin/sh").unwrap_err(), "invalid plugin name: ../bin/sh");
        assert_eq!(search.find("").unwrap_err(), "no plugin name provided");
        assert!(search.find("..").unwrap_err().starts_with("failed to find plugin"));
        assert!(search.find("sh\0").is_err());
        assert!(search.find(&"x".repeat(1 << 20)).unwrap_err().len() < 200);
    }
}
