// Command flannel stands for Flannel's CNI plugin in tests: as that one, it makes a configuration for bridge out of its own
// and what Flannel's daemon left in a file, keeps it for DEL, and lets bridge do the work.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

type netConf struct {
	types.NetConf
	SubnetFile string         `json:"subnetFile"`
	DataDir    string         `json:"dataDir"`
	Delegate   map[string]any `json:"delegate"`
}

func load(stdin []byte) (*netConf, error) {
	conf := &netConf{SubnetFile: "/run/flannel/subnet.env", DataDir: "/var/lib/cni/flannel"}
	if err := json.Unmarshal(stdin, conf); err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return conf, nil
}

// environment reads what the daemon wrote: NAME=VALUE lines.
func environment(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, line := range strings.Fields(string(text)) {
		if name, value, found := strings.Cut(line, "="); found {
			values[name] = value
		}
	}
	for _, name := range []string{"FLANNEL_NETWORK", "FLANNEL_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ"} {
		if values[name] == "" {
			return nil, fmt.Errorf("%s lacks %s", path, name)
		}
	}
	return values, nil
}

func delegate(conf *netConf) (map[string]any, error) {
	values, err := environment(conf.SubnetFile)
	if err != nil {
		return nil, err
	}
	mtu, err := strconv.Atoi(values["FLANNEL_MTU"])
	if err != nil {
		return nil, fmt.Errorf("FLANNEL_MTU: %w", err)
	}
	_, subnet, err := net.ParseCIDR(values["FLANNEL_SUBNET"])
	if err != nil {
		return nil, fmt.Errorf("FLANNEL_SUBNET: %w", err)
	}
	made := map[string]any{
		"type": "bridge", "isGateway": true, "mtu": mtu, "ipMasq": values["FLANNEL_IPMASQ"] != "true",
	}
	for key, value := range conf.Delegate {
		made[key] = value
	}
	made["name"] = conf.Name
	made["cniVersion"] = conf.CNIVersion
	made["ipam"] = map[string]any{
		"type":   "host-local",
		"ranges": [][]map[string]string{{{"subnet": subnet.String()}}},
		"routes": []map[string]string{{"dst": values["FLANNEL_NETWORK"]}},
	}
	return made, nil
}

func add(args *skel.CmdArgs) error {
	conf, err := load(args.StdinData)
	if err != nil {
		return err
	}
	made, err := delegate(conf)
	if err != nil {
		return err
	}
	bytes, err := json.Marshal(made)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(conf.DataDir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(conf.DataDir, args.ContainerID), bytes, 0o600); err != nil {
		return err
	}
	result, err := invoke.DelegateAdd(context.Background(), fmt.Sprint(made["type"]), bytes, nil)
	if err != nil {
		return err
	}
	return result.Print()
}

func del(args *skel.CmdArgs) error {
	conf, err := load(args.StdinData)
	if err != nil {
		return err
	}
	path := filepath.Join(conf.DataDir, args.ContainerID)
	bytes, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var made netConf
	if err := json.Unmarshal(bytes, &made); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if err := invoke.DelegateDel(context.Background(), made.Type, bytes, nil); err != nil {
		return err
	}
	return os.Remove(path)
}

// check has nothing of its own to look at, as Flannel's has not.
func check(*skel.CmdArgs) error { return nil }

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Del: del, Check: check}, version.All, "flannel for tests")
}
