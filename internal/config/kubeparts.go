package config

import (
	"encoding/json"
	"fmt"
)

// PodSpec is one patch of the pod, [[runners.kubernetes.pod_spec]].
type PodSpec struct {
	Name      string `toml:"name"`
	PatchPath string `toml:"patch_path"`
	Patch     string `toml:"patch"`
	PatchType string `toml:"patch_type"`
}

// DNSConfig is [runners.kubernetes.dns_config].
type DNSConfig struct {
	Nameservers []string          `toml:"nameservers"`
	Options     []DNSConfigOption `toml:"options"`
	Searches    []string          `toml:"searches"`
}

// DNSConfigOption is one resolver option.
type DNSConfigOption struct {
	Name  string  `toml:"name"`
	Value *string `toml:"value"`
}

// Volumes is [runners.kubernetes.volumes].
type Volumes struct {
	HostPath  []HostPath         `toml:"host_path"`
	PVC       []PVC              `toml:"pvc"`
	ConfigMap []MountedConfigMap `toml:"config_map"`
	Secret    []Secret           `toml:"secret"`
	EmptyDir  []EmptyDir         `toml:"empty_dir"`
	CSI       []CSI              `toml:"csi"`
	NFS       []NFS              `toml:"nfs"`
}

// HostPath mounts a path of the node.
type HostPath struct {
	Name             string  `toml:"name"`
	MountPath        string  `toml:"mount_path"`
	SubPath          string  `toml:"sub_path"`
	ReadOnly         bool    `toml:"read_only"`
	HostPath         string  `toml:"host_path"`
	MountPropagation *string `toml:"mount_propagation"`
}

// PVC mounts a persistent volume claim.
type PVC struct {
	Name             string  `toml:"name"`
	MountPath        string  `toml:"mount_path"`
	SubPath          string  `toml:"sub_path"`
	ReadOnly         bool    `toml:"read_only"`
	MountPropagation *string `toml:"mount_propagation"`
}

// MountedConfigMap mounts a config map.
type MountedConfigMap struct {
	Name      string            `toml:"name"`
	MountPath string            `toml:"mount_path"`
	SubPath   string            `toml:"sub_path"`
	ReadOnly  bool              `toml:"read_only"`
	Items     map[string]string `toml:"items"`
}

// Secret mounts a secret.
type Secret struct {
	Name      string            `toml:"name"`
	MountPath string            `toml:"mount_path"`
	SubPath   string            `toml:"sub_path"`
	ReadOnly  bool              `toml:"read_only"`
	Items     map[string]string `toml:"items"`
}

// EmptyDir mounts an empty directory.
type EmptyDir struct {
	Name             string  `toml:"name"`
	MountPath        string  `toml:"mount_path"`
	SubPath          string  `toml:"sub_path"`
	Medium           string  `toml:"medium"`
	SizeLimit        string  `toml:"size_limit"`
	MountPropagation *string `toml:"mount_propagation"`
}

// CSI mounts a volume of a CSI driver.
type CSI struct {
	Name             string            `toml:"name"`
	MountPath        string            `toml:"mount_path"`
	SubPath          string            `toml:"sub_path"`
	Driver           string            `toml:"driver"`
	FSType           string            `toml:"fs_type"`
	ReadOnly         bool              `toml:"read_only"`
	VolumeAttributes map[string]string `toml:"volume_attributes"`
}

// NFS mounts an NFS export.
type NFS struct {
	Name      string `toml:"name"`
	MountPath string `toml:"mount_path"`
	SubPath   string `toml:"sub_path"`
	Server    string `toml:"server"`
	Path      string `toml:"path"`
	ReadOnly  bool   `toml:"read_only"`
}

// SecurityProfile is a seccomp or AppArmor profile.
type SecurityProfile struct {
	Type             string `toml:"type" flag:"type" env:"@TYPE"`
	LocalhostProfile string `toml:"localhost_profile" flag:"localhost-profile" env:"@LOCALHOST_PROFILE"`
}

// PodSecurityContext is [runners.kubernetes.pod_security_context].
type PodSecurityContext struct {
	FSGroup            *int64           `toml:"fs_group" flag:"fs-group" env:"KUBERNETES_POD_SECURITY_CONTEXT_FS_GROUP"`
	RunAsGroup         *int64           `toml:"run_as_group" flag:"run-as-group" env:"KUBERNETES_POD_SECURITY_CONTEXT_RUN_AS_GROUP"`
	RunAsNonRoot       *bool            `toml:"run_as_non_root" flag:"run-as-non-root" env:"KUBERNETES_POD_SECURITY_CONTEXT_RUN_AS_NON_ROOT"`
	RunAsUser          *int64           `toml:"run_as_user" flag:"run-as-user" env:"KUBERNETES_POD_SECURITY_CONTEXT_RUN_AS_USER"`
	SupplementalGroups []int64          `toml:"supplemental_groups" flag:"supplemental-groups"`
	SELinuxType        string           `toml:"selinux_type" flag:"selinux-type"`
	SeccompProfile     *SecurityProfile `toml:"seccomp_profile" ns:"seccomp_profile"`
	AppArmorProfile    *SecurityProfile `toml:"app_armor_profile" ns:"app_armor_profile"`
}

// Capabilities are Linux capabilities to add to and drop from a container.
type Capabilities struct {
	Add  []string `toml:"add" flag:"add" env:"@ADD"`
	Drop []string `toml:"drop" flag:"drop" env:"@DROP"`
}

// ContainerSecurityContext is [runners.kubernetes.*_container_security_context].
type ContainerSecurityContext struct {
	Capabilities             *Capabilities    `toml:"capabilities" ns:"capabilities"`
	Privileged               *bool            `toml:"privileged" flag:"privileged" env:"@PRIVILEGED"`
	RunAsUser                *int64           `toml:"run_as_user" flag:"run-as-user" env:"@RUN_AS_USER"`
	RunAsGroup               *int64           `toml:"run_as_group" flag:"run-as-group" env:"@RUN_AS_GROUP"`
	RunAsNonRoot             *bool            `toml:"run_as_non_root" flag:"run-as-non-root" env:"@RUN_AS_NON_ROOT"`
	ReadOnlyRootFilesystem   *bool            `toml:"read_only_root_filesystem" flag:"read-only-root-filesystem" env:"@READ_ONLY_ROOT_FILESYSTEM"`
	AllowPrivilegeEscalation *bool            `toml:"allow_privilege_escalation" flag:"allow-privilege-escalation" env:"@ALLOW_PRIVILEGE_ESCALATION"`
	SELinuxType              string           `toml:"selinux_type" flag:"selinux-type"`
	ProcMount                string           `toml:"proc_mount" flag:"proc-mount" env:"@PROC_MOUNT"`
	SeccompProfile           *SecurityProfile `toml:"seccomp_profile" ns:"seccomp_profile"`
	AppArmorProfile          *SecurityProfile `toml:"app_armor_profile" ns:"app_armor_profile"`
}

// HostAlias adds names to the hosts file of a pod.
type HostAlias struct {
	IP        string   `toml:"ip"`
	Hostnames []string `toml:"hostnames"`
}

// HostAliases is a list of HostAlias; as a flag it is a JSON list with the keys ip and hostnames.
type HostAliases []HostAlias

// UnmarshalFlag adds the aliases of a JSON list.
func (h *HostAliases) UnmarshalFlag(text string) error {
	var list []struct {
		IP        string   `json:"ip"`
		Hostnames []string `json:"hostnames"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return fmt.Errorf(`must be a JSON list such as [{"ip":"10.0.0.1","hostnames":["a"]}]: %w`, err)
	}
	for _, e := range list {
		*h = append(*h, HostAlias(e))
	}
	return nil
}
