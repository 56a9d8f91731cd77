package peer_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
	"gitlab.com/skerry/skerry/internal/cli/doctor/peer"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

// TestInsecureRegistry has registries at an address that is not the loopback's, one without TLS and one whose certificate nobody
// knows, and engines that are told to use them and that are not.
func TestInsecureRegistry(t *testing.T) {
	t.Parallel()
	address := os.Getenv(enginetest.AddressVariable)
	if address == "" {
		t.Skipf("no address of this machine but the loopback's: set %s", enginetest.AddressVariable)
	}
	account := host.Account{Name: "ci", UID: os.Getuid(), Home: "/home/ci"}
	for name, encrypted := range map[string]bool{"speaks no TLS": false, "its certificate is not trusted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := registryAt(t, address, encrypted)
			m := elsewhere(t)
			podman := at(t, m, "unix://"+serve(t, "podman", "4.3.1"))
			podman.Check().Look(t.Context())
			check := peer.Registry(registry, podman.Trust(account, true))
			got := want(t, check, finding.Warning, name, map[bool]string{false: "registries.conf.d/insecure-", true: "/home/ci/.config/containers/certs.d/" + registry + "/ca.crt"}[encrypted])
			if encrypted {
				got.Mend, _ = podman.Trust(account, true).Allow(registry)
			} else if got.Loses == "" {
				t.Error("it does not say that nothing is safe then")
			}
			do(t, got, "/home/ci", m.Root+"/home/ci")
			want(t, check, finding.Fine, "told not to ask", "")

			docker := at(t, m, "unix://"+serve(t, "docker", "20.10.1"))
			docker.Check().Look(t.Context())
			want(t, peer.Registry(registry, docker.Trust(account, false)), finding.Warning, name, "")
			for _, told := range []string{
				fmt.Sprintf(`"IndexConfigs":{%q:{"Name":%q,"Secure":false}}`, registry, registry),
				fmt.Sprintf(`"InsecureRegistryCIDRs":[%q]`, address+"/32"),
			} {
				docker := at(t, m, "unix://"+serveInfo(t, "docker", "20.10.1", `{"Driver":"overlay2","DockerRootDir":"/storage","RegistryConfig":{`+told+`}}`))
				docker.Check().Look(t.Context())
				want(t, peer.Registry(registry, docker.Trust(account, false)), finding.Fine, "told not to ask", "")
			}
		})
	}
}

func registryAt(t *testing.T, address string, encrypted bool) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	_ = s.Listener.Close()
	s.Listener, s.Config.ErrorLog = l, log.New(io.Discard, "", 0)
	if encrypted {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return l.Addr().String()
}
