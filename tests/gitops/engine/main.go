// Command engine runs what Argo CD and Flux do with resources, by their own code, for the tests: health, actions and
// differences of Argo CD 3.2, and kstatus. It takes one JSON request a line and gives one JSON answer a line.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	argodiff "github.com/argoproj/argo-cd/v3/util/argo/diff"
	"github.com/argoproj/argo-cd/v3/util/argo/normalizers"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/settings"
	"github.com/argoproj/gitops-engine/pkg/health"
	jsonpatch "github.com/evanphx/json-patch"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

const argocd = "argocd" // the namespace of Argo CD

// request asks for one thing. Object is a resource as it is in the cluster.
type request struct {
	Do     string          `json:"do"`
	Object json.RawMessage `json:"object"`
	// Desired is what stands in Git; for diff.
	Desired json.RawMessage `json:"desired"`
	// Action is the name of one; for act.
	Action string `json:"action"`
	// Data is that of the ConfigMap argocd-cm; for configure.
	Data map[string]string `json:"data"`
}

// engine holds what Argo CD has read from its ConfigMap.
type engine struct {
	overrides     map[string]v1alpha1.ResourceOverride
	ignoreUpdates map[string]v1alpha1.ResourceOverride
}

func main() {
	logrus.SetLevel(logrus.WarnLevel)
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(in io.Reader, out io.Writer) error {
	var state engine
	decoder, writer := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	for {
		var asked request
		if err := decoder.Decode(&asked); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		answer, err := state.answer(asked)
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		if err := writer.Encode(answer); err != nil {
			return fmt.Errorf("writing an answer: %w", err)
		}
	}
}

func (e *engine) answer(asked request) (any, error) {
	if asked.Do == "configure" {
		return map[string]any{}, e.configure(asked.Data)
	}
	object, err := read(asked.Object)
	if err != nil {
		return nil, err
	}
	switch asked.Do {
	case "health": // as in the application controller
		return health.GetResourceHealth(object, lua.ResourceHealthOverrides(e.overrides))
	case "script": // our script alone: Argo CD asks none about a resource that is being deleted
		return lua.ResourceHealthOverrides(e.overrides).GetResourceHealth(object)
	case "actions":
		vm := lua.VM{ResourceOverrides: e.overrides}
		scripts, err := vm.GetResourceActionDiscovery(object)
		if err != nil {
			return nil, err
		}
		return vm.ExecuteResourceActionDiscovery(object, scripts)
	case "act":
		return e.act(object, asked.Action)
	case "diff":
		desired, err := read(asked.Desired)
		if err != nil {
			return nil, err
		}
		return e.diff(object, desired)
	case "watched":
		return e.watched(object)
	case "kstatus":
		return kstatus(object)
	default:
		return nil, fmt.Errorf("no such request: %q", asked.Do)
	}
}

// read reads a resource as Kubernetes' clients do, with whole numbers as such.
func read(text json.RawMessage) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	return object, object.UnmarshalJSON(text)
}

// configure has Argo CD read its ConfigMap.
func (e *engine) configure(data map[string]string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	labels := map[string]string{"app.kubernetes.io/part-of": "argocd"}
	clients := fake.NewClientset(
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "argocd-cm", Namespace: argocd, Labels: labels}, Data: data},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "argocd-secret", Namespace: argocd, Labels: labels}},
	)
	manager := settings.NewSettingsManager(ctx, clients, argocd)
	overrides, err := manager.GetResourceOverrides()
	if err != nil {
		return err
	}
	ignoreUpdates, err := manager.GetIgnoreResourceUpdatesOverrides()
	if err != nil {
		return err
	}
	e.overrides, e.ignoreUpdates = overrides, ignoreUpdates
	return nil
}

// act runs an action and returns the merge patch that Argo CD sends.
func (e *engine) act(object *unstructured.Unstructured, name string) (any, error) {
	vm := lua.VM{ResourceOverrides: e.overrides}
	action, err := vm.GetResourceAction(object, name)
	if err != nil {
		return nil, err
	}
	before, err := object.MarshalJSON()
	if err != nil {
		return nil, err
	}
	impacted, err := vm.ExecuteResourceAction(object, action.ActionLua, nil)
	if err != nil {
		return nil, err
	}
	if len(impacted) != 1 || impacted[0].K8SOperation != lua.PatchOperation {
		return nil, fmt.Errorf("the action %s does something else than to patch this resource", name)
	}
	after, err := impacted[0].UnstructuredObj.MarshalJSON()
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.CreateMergePatch(before, after)
	return json.RawMessage(patch), err
}

// diff tells whether a resource is OutOfSync.
func (e *engine) diff(live, desired *unstructured.Unstructured) (any, error) {
	config, err := argodiff.NewDiffConfigBuilder().
		WithDiffSettings(nil, e.overrides, false, normalizers.IgnoreNormalizerOpts{}).
		WithTracking("app.kubernetes.io/instance", string(v1alpha1.TrackingMethodAnnotation)).
		WithNoCache().
		Build()
	if err != nil {
		return nil, err
	}
	found, err := argodiff.StateDiff(live, desired, config)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"modified": found.Modified,
		"live":     json.RawMessage(found.NormalizedLive),
		"desired":  json.RawMessage(found.PredictedLive),
	}, nil
}

// watched returns what Argo CD hashes of a resource: while it stays the same, a change is none to Argo CD.
// It is generateManifestHash of its controller/cache without the hashing.
func (e *engine) watched(object *unstructured.Unstructured) (any, error) {
	normalizer, err := normalizers.NewIgnoreNormalizer(nil, e.ignoreUpdates, normalizers.IgnoreNormalizerOpts{})
	if err != nil {
		return nil, err
	}
	left := object.DeepCopy()
	if err := normalizer.Normalize(left); err != nil {
		return nil, err
	}
	return left.Object, nil
}

func kstatus(object *unstructured.Unstructured) (any, error) {
	result, err := status.Compute(object)
	if err != nil {
		return nil, err
	}
	return map[string]any{"status": result.Status.String(), "message": result.Message}, nil
}
