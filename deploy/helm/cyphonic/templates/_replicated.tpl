{{- /* Given a list of the root and a role: what tells that role's pods from others. */ -}}
{{- define "cyphonic.roleSelector" -}}
{{ include "cyphonic.selector" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "cyphonic.roleLabels" -}}
{{ include "cyphonic.labels" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* Ports of a role: name to protocol. */ -}}
{{- define "cyphonic.rolePorts" -}}
{{- get (dict "as" "{as: TCP, controller: TCP}" "nms" "{nms: UDP}" "trs" "{trs: UDP, trs-tls: TCP}") . }}
{{- end }}

{{- /* Given a list of the root and a role: the pod template of one replica. */ -}}
{{- define "cyphonic.replica" -}}
{{- $root := index . 0 }}
{{- $role := index . 1 }}
{{- $values := index $root.Values.replicated $role }}
{{- $onHost := and (eq $role "trs") (eq $values.reachedBy "hosts") }}
metadata:
  labels: {{- include "cyphonic.roleLabels" . | nindent 4 }}
  {{- with $root.Values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "cyphonic.podSettings" $root | nindent 2 }}
  # Leaving the Services, finishing what is in progress, and a margin.
  terminationGracePeriodSeconds: {{ add $root.Values.drainSeconds $root.Values.replicated.graceSeconds 10 }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "cyphonic.roleSelector" (list $root $role) | nindent 10 }}
    {{- end }}
  containers:
    - name: {{ $role }}
      {{- include "cyphonic.image-of-container" $root | nindent 6 }}
      env:
        - name: CYPHONIC_ROLE
          value: {{ $role }}
        {{- if $onHost }}
        - name: CYPHONIC_ADDRESS
          valueFrom: { fieldRef: { fieldPath: status.hostIP } }
        {{- else if eq $role "trs" }}
        - name: ORDINAL
          valueFrom: { fieldRef: { fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']" } }
        {{- end }}
        - name: CYPHONIC_CONFIG
          value: /etc/cyphonic/{{ get (dict "as" "cloud" "nms" "nms" "trs" (ternary "trs" "trs-$(ORDINAL)" $onHost)) $role }}.yaml
        - name: CYPHONIC_GRACE
          value: {{ $root.Values.replicated.graceSeconds | quote }}
        {{- include "cyphonic.metricsEnv" $root | nindent 8 }}
      ports:
        {{- range $name, $protocol := include "cyphonic.rolePorts" $role | fromYaml }}
        - { name: {{ $name }}, containerPort: {{ index $root.Values.ports $name }}, protocol: {{ $protocol }}{{ if $onHost }}, hostPort: {{ index $root.Values.ports $name }}{{ end }} }
        {{- end }}
        - { name: metrics, containerPort: {{ $root.Values.metrics.port }}, protocol: TCP }
      {{- include "cyphonic.life" $root | nindent 6 }}
      resources: {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        - { name: network, mountPath: /etc/cyphonic, readOnly: true }
        - { name: scratch, mountPath: /tmp }
  volumes:
    - name: network
      secret:
        secretName: {{ $values.secret | required (printf "replicated.%s.secret: name the Secret with its files" $role) }}
        defaultMode: 0400
    - name: scratch
      emptyDir:
        sizeLimit: 256Mi
{{- end }}
