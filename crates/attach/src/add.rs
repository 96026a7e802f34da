//! ADD: the journal first, then the networks in order; whatever fails undoes what was done.

use std::thread;
use std::time::{Duration, Instant};

use libcni::{Attachment, CniError, CniResult, Entry, Object, Route};
use plan::{Plan, PlanEvent, Planned, PodIdentity, Sandbox};
use serde_json::value::RawValue;

use crate::error::{Error, Failure};
use crate::host::Host;
use crate::journal::{Element, Loaded, Saved, State, Store};
use crate::lock::{NodeLock, SandboxLock, Slot};
use crate::netns::PodNetns;
use crate::route::Wish;
use crate::undo::Undo;
use crate::{del, devinfo, netns, route, step};

/// Undoing a failed ADD may take so much longer than the ADD's own deadline.
const ROLLBACK: Duration = Duration::from_secs(30);

/// What is attached now.
#[derive(Debug, Default)]
pub struct Attached {
    /// In the order of the plan; the first is the default network.
    pub attachments: Vec<AttachedNetwork>,
    /// What an administrator may want to know: things that failed and did not matter.
    pub notes: Vec<String>,
}

/// One network that is attached now.
#[derive(Debug)]
pub struct AttachedNetwork {
    /// Its place in the plan.
    pub index: usize,
    /// The last plugin's result.
    pub result: CniResult,
    /// What its device-info file says (N-118).
    pub device_info: Option<Box<RawValue>>,
    /// What the pod's owner should be told of it.
    pub warnings: Vec<PlanEvent>,
}

/// Attaches all networks of `plan` to `sandbox`, until `deadline`.
///
/// # Errors
/// The first failure (N-97), after everything that had been attached was detached again in reverse order, the failing network
/// included. What cannot be detached stays in the journal and is named.
pub fn add(
    host: &Host,
    plan: &Plan,
    sandbox: &Sandbox,
    identity: &PodIdentity,
    deadline: Instant,
) -> Result<Attached, Error> {
    let id = &sandbox.container_id;
    let lock = SandboxLock::acquire(&host.cni_dir, id, deadline).map_err(|error| Error::locked(id, error))?;
    let _node = NodeLock::shared(&host.cni_dir, deadline)
        .map_err(|error| Error::node_locked(error, "garbage collection is running on this node"))?;
    let _slot = Slot::acquire(&host.cni_dir, host.slots, deadline).map_err(|error| {
        Error::node_locked(error, "too many pods are being attached on this node at once")
    })?;
    clear_earlier(host, sandbox, deadline)?;

    let store = Store::new(&host.cni_dir);
    let elements: Vec<Element> =
        plan.attachments.iter().map(|planned| Element::of(planned, sandbox, &host.boot_id)).collect();
    step::reached("before the journal");
    let saved = store.write(id, &elements).map_err(|source| Error::State {
        action: "write the journal",
        path: store.path(id),
        source,
    })?;
    step::reached("after the journal");

    let call = Call { host, plan, sandbox, identity, deadline };
    // The disk is as slow as the plugins: both are waited for at once.
    let (done, synced) = thread::scope(|scope| {
        let sync = scope.spawn(|| saved.sync());
        let done = call.attach_all(&saved);
        (done, sync.join())
    });
    let failed_sync = match synced {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the thread that wrote it failed".to_owned()),
    };
    let cause = match (done.cause, failed_sync) {
        (None, None) => return Ok(done.attached),
        (Some(cause), _) => cause,
        (None, Some(error)) => {
            let text = format!("cannot put the journal {} on disk: {error}", store.path(id).display());
            Cause { at: String::new(), error: CniError::new(CniError::IO, text, ""), ran: false }
        }
    };
    let left = call.roll_back(&store, elements, &done.touched);
    if left.is_empty() {
        lock.release_and_remove();
    }
    Err(Error::Add { at: cause.at, cause: cause.error, left })
}

/// Makes room for a new ADD of a sandbox that has a journal: what a killed ADD or a failed DEL left is undone.
fn clear_earlier(host: &Host, sandbox: &Sandbox, deadline: Instant) -> Result<(), Error> {
    let id = &sandbox.container_id;
    match Store::new(&host.cni_dir).load(id) {
        Loaded::Missing => return Ok(()),
        Loaded::Found(elements) => {
            let here = netns::identity(&sandbox.netns);
            let attached = |element: &Element| match &element.own {
                // Inodes of namespaces start from the same number after every boot.
                Some(own) => own.state == State::Added && own.boot_id == host.boot_id && own.netns_id == here,
                None => has_result_for(host, sandbox),
            };
            if here.is_some() && elements.iter().all(attached) {
                return Err(Error::Attached(id.clone()));
            }
        }
        Loaded::Broken(_) => {}
    }
    del::locked(host, sandbox, &Object::default(), deadline).map_err(Error::Del)
}

/// Whether the result cache knows this sandbox in this namespace. Upstream's journal does not say for which one it is.
fn has_result_for(host: &Host, sandbox: &Sandbox) -> bool {
    let entries = host.cache().list().map(|listing| listing.entries).unwrap_or_default();
    entries.iter().any(|entry| entry.container_id == sandbox.container_id && entry.netns == sandbox.netns)
}

struct Call<'a> {
    host: &'a Host,
    plan: &'a Plan,
    sandbox: &'a Sandbox,
    identity: &'a PodIdentity,
    deadline: Instant,
}

/// How far attaching came.
#[derive(Default)]
struct Done {
    attached: Attached,
    /// The places of the networks whose plugins were run, so that there may be something to undo.
    touched: Vec<usize>,
    /// The first failure.
    cause: Option<Cause>,
}

/// A network with what an administrator may want to know, or why it is not attached.
type Outcome = Result<(AttachedNetwork, Option<String>), Cause>;

/// Why a network is not attached.
struct Cause {
    /// Upstream's prefix.
    at: String,
    error: CniError,
    /// Whether its plugins were run, so that there may be something to undo.
    ran: bool,
}

impl Call<'_> {
    /// Attaches until the first failure (N-97). A failing network counts as touched: its plugins may have done something.
    fn attach_all(&self, saved: &Saved) -> Done {
        let mut done = Done::default();
        // One look into the namespace serves all networks: entering it takes a thread.
        let mut netns = PodNetns::open(&self.sandbox.netns);
        for group in groups(&self.plan.attachments) {
            let outcomes = self.attach_group(group, netns.as_ref());
            let outcomes = match &mut netns {
                Ok(netns) => self.settle_routes(group, outcomes, netns),
                Err(_) => outcomes,
            };
            for (planned, outcome) in group.iter().zip(outcomes) {
                step::reached("after a delegate's ADD");
                if outcome.as_ref().err().is_none_or(|cause| cause.ran) {
                    done.touched.push(planned.index);
                }
                match outcome {
                    Ok((network, note)) => {
                        done.attached.attachments.push(network);
                        done.attached.notes.extend(note);
                        // The state is for people and GC; DEL does not depend on it.
                        if let Err(error) = saved.mark(planned.index, State::Added) {
                            let note =
                                format!("the journal still calls {} unfinished: {error}", planned.if_name);
                            done.attached.notes.push(note);
                        }
                    }
                    Err(cause) => done.cause = done.cause.or(Some(cause)),
                }
            }
            if done.cause.is_some() {
                break;
            }
        }
        done
    }

    fn attach_group(&self, group: &[Planned], netns: Result<&PodNetns, &String>) -> Vec<Outcome> {
        if let [planned] = group {
            return vec![self.attach(planned, netns)];
        }
        thread::scope(|scope| {
            let start = |planned| (planned, scope.spawn(move || self.attach(planned, netns)));
            let threads: Vec<_> = group.iter().map(start).collect();
            let joined = threads.into_iter().map(|(planned, thread)| {
                thread.join().unwrap_or_else(|_| {
                    Err(self.cause(planned, CniError::new(CniError::INTERNAL, "its thread failed", "")))
                })
            });
            joined.collect()
        })
    }

    /// Moves the default routes when all plugins of the group are done: those that run at the same time would add theirs between
    /// our steps. The requested ones come last, when nothing stands in their way any more.
    fn settle_routes(
        &self,
        group: &[Planned],
        mut outcomes: Vec<Outcome>,
        netns: &mut PodNetns,
    ) -> Vec<Outcome> {
        if outcomes.iter().any(Result::is_err) {
            return outcomes;
        }
        for asks in [false, true] {
            for (planned, outcome) in group.iter().zip(&mut outcomes) {
                let Ok((network, _)) = outcome else { continue };
                if planned.default_route.is_some() != asks {
                    continue;
                }
                if let Err(why) = self.set_default_routes(planned, &network.result, netns) {
                    let at = format!("Multus: {}error setting default gateway: ", self.identity.prefix());
                    *outcome =
                        Err(Cause { at, error: CniError::new(CniError::INTERNAL, why, ""), ran: true });
                }
            }
        }
        outcomes
    }

    fn attach(&self, planned: &Planned, netns: Result<&PodNetns, &String>) -> Outcome {
        self.check_name(planned, netns).map_err(|why| Cause { ran: false, ..self.cause(planned, why) })?;
        let note = self.copy_device_info(planned);
        step::reached("before a delegate's ADD");
        let result = self
            .host
            .runtime(self.deadline)
            .add(&planned.network, &self.attachment(planned))
            .map_err(|error| self.cause(planned, error.to_cni()))?;
        let warnings =
            plan::confirm(planned, &result).map_err(|error| self.cause(planned, error.to_cni()))?;
        self.tellable(planned, &result).map_err(|why| self.cause(planned, why))?;
        let device_info = planned
            .device_info
            .as_deref()
            .and_then(|path| devinfo::collect(path).ok().flatten())
            .and_then(|object| serde_json::value::to_raw_value(&object).ok());
        Ok((AttachedNetwork { index: planned.index, result, device_info, warnings }, note))
    }

    /// A result that the runtime cannot be told is no success, which has to be known while all can still be undone.
    fn tellable(&self, planned: &Planned, result: &CniResult) -> Result<(), CniError> {
        let version = &self.plan.cni_version;
        match planned.primary.then(|| result.as_version(version)) {
            Some(Err(error)) => {
                let text =
                    format!("the default network's result cannot be given as CNI {version:?}: {error}");
                Err(CniError::new(CniError::INTERNAL, text, ""))
            }
            _ => Ok(()),
        }
    }

    /// An interface that is there already is nobody's to take over (C-19, N-40). Upstream's texts.
    fn check_name(&self, planned: &Planned, netns: Result<&PodNetns, &String>) -> Result<(), CniError> {
        let shown = match planned.network.form {
            libcni::Form::Single => planned.network.plugins.first().map_or("", |plugin| &plugin.plugin_type),
            libcni::Form::List => "",
        };
        let fail = |why: String| {
            let text = format!(
                "DelegateAdd: cannot set \"{shown}\" interface name to \"{}\": validateIfName: {why}",
                planned.if_name
            );
            CniError::new(CniError::INTERNAL, text, "")
        };
        let netns = netns.map_err(|why| fail(why.clone()))?;
        match netns.index_of(&planned.if_name) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(fail(format!("interface name {} already exists", planned.if_name))),
            Err(error) => Err(fail(error.to_string())),
        }
    }

    fn copy_device_info(&self, planned: &Planned) -> Option<String> {
        let (source, target) = (planned.device_info_source.as_ref()?, planned.device_info.as_ref()?);
        let error = devinfo::copy(source, target).err()?;
        // Most device plugins write no such file.
        (error.kind() != std::io::ErrorKind::NotFound)
            .then(|| format!("the device information {} was not copied: {error}", source.display()))
    }

    /// Moves the default routes as the pod asked (N-59, N-60), in the namespace and in the cached result, which CHECK compares.
    fn set_default_routes(
        &self,
        planned: &Planned,
        result: &CniResult,
        netns: &mut PodNetns,
    ) -> Result<(), String> {
        let gateways = planned.default_route.clone().unwrap_or_default();
        let has = |v4: bool| gateways.iter().any(|gateway| gateway.is_ipv4() == v4);
        let clears = self.plan.clears_default_routes;
        let wish = Wish {
            clear_v4: clears && (planned.filter_v4 || has(true)),
            clear_v6: clears && (planned.filter_v6 || has(false)),
            gateways,
        };
        if wish.is_empty() || (result.interfaces().is_empty() && result.ips().is_empty()) {
            return Ok(());
        }
        route::apply(netns, &planned.if_name, &wish)?;
        self.rewrite_cache(planned, result, &wish)
    }

    fn rewrite_cache(&self, planned: &Planned, result: &CniResult, wish: &Wish) -> Result<(), String> {
        let cleared = |route: &Route| {
            let dst = route.dst.to_string();
            let is_main = route.table.is_none_or(|table| table == route::MAIN_TABLE);
            is_main
                && [true, false]
                    .into_iter()
                    .any(|v4| wish.clears(v4) && route::is_default_destination(&dst, v4))
        };
        let kept = result.routes().iter().filter(|route| !cleared(route)).cloned();
        let added = wish.gateways.iter().map(|gateway| {
            let any = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            any.parse().map(|dst| Route::new(dst, Some(*gateway)))
        });
        let routes = kept.map(Ok).chain(added).collect::<Result<Vec<_>, _>>();
        let routes = routes.map_err(|error| format!("a default route has no destination: {error}"))?;
        let changed = result.with_routes(routes);
        let cache = self.host.cache();
        let network = &planned.network.name;
        let entry: Option<Entry> = cache
            .read(network, &self.sandbox.container_id, &planned.if_name)
            .map_err(|error| error.to_string())?;
        let Some(mut entry) = entry else { return Ok(()) };
        entry.result = serde_json::from_slice(changed.bytes()).ok();
        cache.write(&entry).map_err(|error| error.to_string())
    }

    fn attachment(&self, planned: &Planned) -> Attachment {
        Attachment {
            container_id: self.sandbox.container_id.clone(),
            netns: self.sandbox.netns.clone(),
            if_name: planned.if_name.clone(),
            args: planned.args.clone(),
            capability_args: planned.capability_args.clone(),
        }
    }

    fn cause(&self, planned: &Planned, error: CniError) -> Cause {
        let PodIdentity { namespace, name, uid, .. } = self.identity;
        let conf = &planned.network.name;
        let at = format!("[{namespace}/{name}/{uid}:{conf}]: error adding container to network \"{conf}\": ");
        Cause { at, error, ran: true }
    }

    /// Detaches what was attached and what failed; the others were never touched. Returns what is left.
    fn roll_back(&self, store: &Store<'_>, elements: Vec<Element>, touched: &[usize]) -> Vec<Failure> {
        let numbered = elements.into_iter().enumerate();
        let elements: Vec<Element> =
            numbered.filter(|(index, _)| touched.contains(index)).map(|(_, element)| element).collect();
        step::reached("before the rollback");
        let deadline = self.deadline.max(Instant::now()) + ROLLBACK;
        let undone = Undo::new(self.host, self.sandbox, deadline).all(elements);
        let (left, failures): (Vec<_>, Vec<_>) = undone.failed.into_iter().unzip();
        step::reached("before the rollback's journal");
        // If this cannot be written the journal still names all of them, and a DEL of what is gone succeeds.
        let _ = del::keep(store, &self.sandbox.container_id, &left);
        step::reached("after the rollback");
        failures
    }
}

/// Networks that may be attached at once, each other one by itself.
fn groups(attachments: &[Planned]) -> impl Iterator<Item = &[Planned]> {
    attachments.chunk_by(|one, next| one.parallel && next.parallel)
}

#[cfg(test)]
mod tests;
