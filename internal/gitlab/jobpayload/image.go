package jobpayload

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/gitlab/lenient"
	"gitlab.com/skerry/skerry/internal/job"
)

func (t *translation) image(i *Image) *job.Image {
	if i == nil || i.Name == "" {
		return nil
	}
	out := t.container("image", *i)
	return &out
}

// services leaves out entries without a name: older servers send them for services that a variable
// left empty.
func (t *translation) services(list []Image) []job.Image {
	var out []job.Image
	for _, s := range list {
		if s.Name != "" {
			out = append(out, t.container("services", s))
		}
	}
	return out
}

func (t *translation) container(where string, i Image) job.Image {
	opts := t.executorOpts(where, i.ExecutorOpts)
	out := job.Image{
		Name: i.Name, Alias: i.Alias, Entrypoint: i.Entrypoint, Command: i.Command,
		PullPolicies: i.PullPolicy,
		Platform:     opts.Docker.Platform, User: opts.Docker.User, KubeUser: opts.Kubernetes.User,
	}
	if len(i.Variables) > 0 {
		out.Variables = t.variables(where+": variables", i.Variables)
	}
	for _, p := range i.Ports {
		out.Ports = append(out.Ports, job.Port(p))
	}
	return out
}

// containerOpts is ExecutorOpts without its pointers.
type containerOpts struct {
	Docker     DockerOpts     `json:"docker"`
	Kubernetes KubernetesOpts `json:"kubernetes"`
}

// executorOpts reads options strictly: one that is passed over would silently run the job in
// another way than its author wrote.
func (t *translation) executorOpts(where string, raw json.RawMessage) containerOpts {
	var out containerOpts
	if len(raw) == 0 {
		return out
	}
	var d lenient.Decoder
	var all map[string]json.RawMessage
	if json.Unmarshal(raw, &all) != nil {
		if s := string(raw); s != "[]" && s != `""` {
			t.unsupported("%s: executor_opts is %s where an object was expected", where, lenient.KindOf(raw))
		}
		return out
	}
	t.known(where+": executor_opts", all, "docker", "kubernetes")
	t.known(where+": docker", object(all["docker"]), "platform", "user")
	t.known(where+": kubernetes", object(all["kubernetes"]), "user")
	if err := d.DecodeObject(raw, &out); err != nil {
		t.unsupported("%s: executor_opts cannot be read: %v", where, err)
	}
	for _, m := range d.Mismatches {
		t.unsupported("%s: executor_opts: %s", where, m)
	}
	return out
}

func (t *translation) known(where string, options map[string]json.RawMessage, names ...string) {
	for _, key := range slices.Sorted(maps.Keys(options)) {
		if !slices.Contains(names, key) {
			t.unsupported("%s: the option %q is not supported; supported are: %s", where, key, strings.Join(names, ", "))
		}
	}
}

func object(raw json.RawMessage) map[string]json.RawMessage {
	var out map[string]json.RawMessage
	_ = json.Unmarshal(raw, &out) // what is no object is reported by the decoder
	return out
}
