use super::*;

/// Where a Dockerfile of upstream's puts files, and its entry point.
fn dockerfile(name: &str) -> (Vec<String>, String) {
    let path = parts::upstream_source(parts::UPSTREAM_VERSION).unwrap().join("images").join(name);
    let text = fs::read_to_string(path).unwrap();
    let copied = text.lines().filter_map(|line| line.strip_prefix("COPY --from=build "));
    let copied = copied.map(|arguments| {
        let (from, to) = arguments.split_once(' ').unwrap();
        if to == "/" { format!("/{}", from.rsplit('/').next().unwrap()) } else { to.to_owned() }
    });
    let entrypoint = text.lines().find_map(|line| line.strip_prefix("ENTRYPOINT ")).unwrap();
    (copied.collect(), entrypoint.trim_matches(['[', ']', ' ', '"']).to_owned())
}

#[test]
fn stand_ins_for_upstreams_images_have_what_its_dockerfiles_put_there() {
    let programs = parts::upstream_multus().unwrap();
    let images = upstream(parts::UPSTREAM_VERSION, &programs).unwrap();
    for (image, (file, tag)) in
        images.iter().zip([("Dockerfile", "v4.3.0"), ("Dockerfile.thick", "v4.3.0-thick")])
    {
        assert_eq!(image.references, [format!("ghcr.io/k8snetworkplumbingwg/multus-cni:{tag}")]);
        let (copied, entrypoint) = dockerfile(file);
        assert!(copied.len() > 2, "{file}: {copied:?}");
        let paths: Vec<_> =
            image.layers.iter().flat_map(Layer::files).map(|path| format!("/{path}")).collect();
        for path in copied {
            let found = paths.iter().any(|found| *found == path || found.starts_with(&format!("{path}/")));
            assert!(found, "{file}: {path}");
        }
        assert_eq!(image.config.entrypoint, [entrypoint]);
        for expected in ["/etc/passwd", "/var/run"] {
            assert!(paths.iter().any(|path| path == expected), "{file}: {expected}");
        }
        // Debian has a shell, distroless has none.
        assert_eq!(paths.iter().any(|path| path == "/bin/sh"), file == "Dockerfile.thick");
    }
}

#[test]
fn pods_of_tests_find_the_tools_that_they_call() {
    let image = busybox().unwrap();
    for tool in ["sh", "ip", "ping", "nc", "wget", "httpd", "sleep"] {
        assert!(image.layers[0].files().any(|path| path == format!("bin/{tool}")), "{tool}");
    }
}
