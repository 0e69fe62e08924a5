# shellcheck shell=bash
# An iSCSI array with two controllers: portal group 1 on eth0, group 2 on eth1.
# Not on 0.0.0.0: SendTargets would then repeat the address it was asked at, for both groups.

# array_target NAME DISK LUN: a target with one LUN, by both controllers. Not enabled yet.
array_target() {
  local target=$TCM/iscsi/$1 group
  for group in 0 1; do
    mkdir -p "$target/tpgt_$((group + 1))/np/10.0.$((group + 2)).15:3260"
    map "$target/tpgt_$((group + 1))" "$3" "$2" $group
  done
}

# each_group NAME FILE VALUE: an attribute or parameter of both portal groups
each_group() {
  local group
  for group in 1 2; do printf %s "$3" >"$TCM/iscsi/$1/tpgt_$group/$2"; done
}

# for_all NAME: everybody may log in and sees the LUNs as they are.
for_all() {
  each_group "$1" attrib/authentication 0
  each_group "$1" attrib/generate_node_acls 1
  each_group "$1" attrib/demo_mode_write_protect 0
  each_group "$1" attrib/cache_dynamic_acls 1
}

# for_client NAME CLIENT NUMBER LUN READ-ONLY [USER SECRET [OWN-USER OWN-SECRET]]
# Only that client may log in, and sees the LUN under the number.
for_client() {
  local group access
  for group in 1 2; do
    allow "$TCM/iscsi/$1/tpgt_$group" "$2" "$3" "$4" "$5"
    access=$TCM/iscsi/$1/tpgt_$group/acls/$2/auth
    # printf, not echo: this kernel keeps a newline as a part of a name.
    if [ $# -ge 7 ]; then
      printf %s "$6" >"$access/userid"
      printf %s "$7" >"$access/password"
    fi
    if [ $# -ge 9 ]; then
      printf %s "$8" >"$access/userid_mutual"
      printf %s "$9" >"$access/password_mutual"
    fi
  done
  each_group "$1" attrib/authentication $(($# >= 7))
}

# insist NAME: on digests. Without "None" in the list, there is no login without them.
insist() {
  each_group "$1" param/HeaderDigest CRC32C
  each_group "$1" param/DataDigest CRC32C
}
