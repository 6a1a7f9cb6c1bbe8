//! Where a pipeline lives: its file, its workspace, its folder under `.flow/`.
//!
//! Owns the names of everything flow keeps on disk. Reads nothing but what stands where. Must hold: one
//! pipeline file has one folder of its own, whichever way it was named.

use std::path::{Component, Path, PathBuf};

use crate::name::{RelPath, folder_name};

/// The pipeline file's names when nobody gives one.
pub const DEFAULT_NAMES: [&str; 2] = ["pipeline.yaml", "pipeline.yml"];

/// A pipeline file, found.
#[derive(Clone, PartialEq, Debug)]
pub struct PipelineFile {
    /// As people see it: as it was given, or found from the caller's folder.
    pub shown: String,
    /// Absolute, links not resolved.
    pub path: PathBuf,
}

/// Why no pipeline file was found.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SiteFault {
    /// Nothing given, nothing there.
    #[error("no pipeline.yaml here or in a folder above")]
    NoFile,
    /// Both endings.
    #[error("`{0}` holds both pipeline.yaml and pipeline.yml")]
    Both(String),
    /// The workspace is not a folder.
    #[error("the workspace `{0}` is not a folder that can be opened: {1}")]
    Root(String, String),
}

/// Finds the pipeline file: as given, else `pipeline.yaml` or `.yml` here or in a folder above.
pub fn find(given: Option<&str>, here: &Path) -> Result<PipelineFile, SiteFault> {
    if let Some(given) = given {
        return Ok(PipelineFile { shown: given.to_string(), path: absolute(&here.join(given)) });
    }
    let mut up = String::new();
    for folder in here.ancestors() {
        let there: Vec<&str> = DEFAULT_NAMES.into_iter().filter(|name| folder.join(name).exists()).collect();
        match there.as_slice() {
            [] => up.push_str("../"),
            [name] => return Ok(PipelineFile { shown: format!("{up}{name}"), path: absolute(&folder.join(name)) }),
            _ => return Err(SiteFault::Both(folder.display().to_string())),
        }
    }
    Err(SiteFault::NoFile)
}

/// A path without `.` and `..`, by its text.
pub fn absolute(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

/// A pipeline's places.
#[derive(Clone, PartialEq, Debug)]
pub struct Site {
    /// The file.
    pub file: PipelineFile,
    /// The workspace, absolute.
    pub workspace: PathBuf,
    /// The file as seen from the workspace.
    pub relative: String,
    /// `.flow/` in the workspace, absolute.
    pub flow: PathBuf,
    /// Name of the pipeline's own folder in `.flow/`.
    pub folder: String,
    /// The caller's folder as seen from the workspace.
    pub here: RelPath,
    /// The folder of the pipeline file as seen from the workspace.
    pub file_folder: RelPath,
}

impl Site {
    /// The places of a pipeline whose file says this `root`.
    pub fn new(file: PipelineFile, root: Option<&str>, here: &Path) -> Result<Site, SiteFault> {
        let folder = file.path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let workspace = absolute(&folder.join(root.unwrap_or(".")));
        let relative = seen_from(&file.path, &workspace);
        let here = RelPath::normal(&seen_from(&absolute(here), &workspace)).unwrap_or_else(|_| RelPath::workspace());
        let file_folder = RelPath::normal(&seen_from(&folder, &workspace)).unwrap_or_else(|_| RelPath::workspace());
        Ok(Site { flow: workspace.join(".flow"), folder: folder_name(&relative), file, workspace, relative, here, file_folder })
    }

    /// The pipeline's own folder under `.flow/`, absolute.
    pub fn own(&self) -> PathBuf {
        self.flow.join(&self.folder)
    }

    /// The name of a pipeline that has none: its file's stem.
    pub fn stem(&self) -> String {
        self.file.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// A path as seen from a folder, both absolute; `.` if they are the same.
fn seen_from(path: &Path, folder: &Path) -> String {
    let path: Vec<Component<'_>> = path.components().collect();
    let folder: Vec<Component<'_>> = folder.components().collect();
    let common = path.iter().zip(&folder).take_while(|(a, b)| a == b).count();
    let mut parts: Vec<String> = vec!["..".to_string(); folder.len() - common];
    parts.extend(path[common..].iter().map(|part| part.as_os_str().to_string_lossy().into_owned()));
    if parts.is_empty() { ".".into() } else { parts.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_seen_from_the_workspace() {
        let file = PipelineFile { shown: "pipelines/check.yaml".into(), path: "/w/pipelines/check.yaml".into() };
        let site = Site::new(file.clone(), Some(".."), Path::new("/w/pipelines")).unwrap();
        assert_eq!(site.workspace, Path::new("/w"));
        assert_eq!(site.folder, "pipelines%2Fcheck.yaml");
        assert_eq!(site.here.as_str(), "pipelines");
        let plain = Site::new(file, None, Path::new("/w")).unwrap();
        assert_eq!(plain.folder, "check.yaml");
        assert_eq!(plain.here.as_str(), "..");
        assert_eq!(plain.file_folder.as_str(), ".");
    }

    #[test]
    fn the_file_is_looked_for_above() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("pipeline.yml"), "").unwrap();
        assert_eq!(find(None, &dir.path().join("a/b")).unwrap().shown, "../../pipeline.yml");
        std::fs::write(dir.path().join("pipeline.yaml"), "").unwrap();
        assert!(matches!(find(None, dir.path()), Err(SiteFault::Both(_))));
        assert_eq!(find(Some("x/../p.yaml"), Path::new("/w")).unwrap().path, Path::new("/w/p.yaml"));
    }
}
