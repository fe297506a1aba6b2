use std::fs;
use std::path::{Component, Path};

/// Returns the memory in bytes that the cgroups of this process allow it, if they limit it: the least of its own and
/// those around it.
pub(crate) fn memory_limit() -> Option<u64> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_of(&cgroups, Path::new("/sys/fs/cgroup"))
}

/// `cgroups` has a line for each hierarchy, `number:controllers:path`; version 2 has no controllers. Source:
/// cgroups(7).
fn limit_of(cgroups: &str, mounted: &Path) -> Option<u64> {
    let hierarchies = cgroups.lines().filter_map(|line| {
        let mut members = line.splitn(3, ':').skip(1);
        let (controllers, path) = (members.next()?, members.next()?);
        if controllers.is_empty() {
            return Some((mounted.to_owned(), "memory.max", path));
        }
        let mut controllers = controllers.split(',');
        let is_memory = controllers.any(|controller| controller == "memory");
        is_memory.then(|| (mounted.join("memory"), "memory.limit_in_bytes", path))
    });
    let limits = hierarchies.flat_map(|(root, file, path)| {
        // In a container the path may be that of the node, while what is mounted is the container's cgroup.
        let ancestors = Path::new(path).ancestors();
        let limits = ancestors.filter_map(|path| {
            let inside = path.strip_prefix(Component::RootDir).ok()?;
            let limit = fs::read_to_string(root.join(inside).join(file)).ok()?;
            // `max` stands for no limit.
            limit.trim().parse().ok()
        });
        limits.collect::<Vec<u64>>()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[(&str, &str)], cgroups: &str) -> Option<u64> {
        let mounted = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = mounted.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        limit_of(cgroups, mounted.path())
    }

    #[test]
    fn the_limit_is_that_of_the_cgroup_or_of_one_around_it() {
        let files = [
            ("memory.max", "max\n"),
            ("pods/memory.max", "4096\n"),
            ("pods/agent/memory.max", "8192\n"),
        ];
        assert_eq!(with(&files, "0::/pods/agent\n"), Some(4096));
        assert_eq!(with(&files, "0::/\n"), None);
        assert_eq!(with(&[], "0::/pods/agent\n"), None);
    }

    #[test]
    fn a_hierarchy_of_version_1_is_read_also_where_only_the_containers_part_is_mounted() {
        let files = [("memory/memory.limit_in_bytes", "4096\n")];
        let cgroups = "5:cpu,cpuacct:/pods/agent\n4:memory:/pods/agent\n0::/pods/agent\n";
        assert_eq!(with(&files, cgroups), Some(4096));
    }
}
