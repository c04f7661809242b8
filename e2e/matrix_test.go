package e2e

import "testing"

func TestTrial(t *testing.T) {
	s := need(t, suite.sigstore)
	up, kit := startRegistry(t), need(t, suite.images)
	for _, g := range []cosign{cosign2, cosign3} {
		digest := put(t, up.ref(g.name+":v1"), kit.image(t, nonroot, "trial"))
		args, err := s.signing(g, builder)
		if err != nil {
			t.Fatal(err)
		}
		r := g.run(t, append(append([]string{"sign"}, args...), up.ref(g.name)+"@"+digest)...)
		t.Log(r.code, r.output)
	}
}
